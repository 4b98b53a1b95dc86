"""Class names, which list files lack, and the image names that they use."""

from __future__ import annotations

from pathlib import PurePosixPath

from splits import numbers

_VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
VOC = tuple(_VOC.split())

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,"
    "baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,"
    "fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,"
    "cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
    "hair drier,toothbrush"
)
COCO = tuple(_COCO.split(","))


def stem(name: str) -> str:
    """`VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg` -> `2008_000023`."""
    return PurePosixPath(name.replace("\\", "/")).stem


def coco_number(name: str) -> str:
    """`train2014/COCO_train2014_000000480023.jpg`, `000000480023` or `480023` -> `480023`."""
    number = numbers.parse_whole(stem(name).rpartition("_")[2])
    return stem(name) if number is None else str(number)


def unchanged(name: str) -> str:
    """The name itself."""
    return name
