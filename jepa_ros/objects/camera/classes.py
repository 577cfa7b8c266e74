"""What the class names of other detectors mean here: COCO, KITTI, nuScenes, Argoverse 2, Waymo, Autoware and their likes, and ours."""

from __future__ import annotations

import re

from jepa_ros.movers import Kind

COCO = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,bench,bird,cat,dog
horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat
baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot
hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster
sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush""".replace("\n", ",").split(",")
)
PERSON = "person pedestrian people human man woman child adult worker officer construction_worker police_officer person_sitting wheelchair"
RIDER = "cyclist bicyclist rider motorcyclist cyclist_rider"
TWO_WHEELER = "bicycle motorcycle motorbike bike scooter moped two_wheeler wheeled_device"
VEHICLE = "vehicle car van truck bus tram train trailer construction construction_vehicle emergency bendy rigid large_vehicle"
VEHICLE += (
    " regular_vehicle box_truck school_bus articulated_bus truck_cab vehicular_trailer ambulance police caravan auto lorry tractor hazard"
)
OTHER = (
    "unknown misc animal dontcare sign barrier traffic_cone traffic_light debris pushable_pullable bicycle_rack stroller background none"
)
MEANING: dict[str, Kind | None] = {
    **dict.fromkeys(name.lower().replace(" ", "_") for name in COCO),
    **dict.fromkeys(OTHER.split()),
    **dict.fromkeys(VEHICLE.split(), Kind.VEHICLE),
    **dict.fromkeys(TWO_WHEELER.split(), Kind.TWO_WHEELER),
    **dict.fromkeys(RIDER.split(), Kind.RIDER),
    **dict.fromkeys(PERSON.split(), Kind.PERSON),
}


class UnknownClass(ValueError):
    """A class name that nobody knows."""


def kind_of(name: str) -> Kind | None:
    """What a class means here; None for what is neither a person nor a two-wheeler nor a vehicle. Raises UnknownClass.

    Names count in any case, with spaces or underscores; of dotted ones (nuScenes: "human.pedestrian.adult") the last part that is known.
    Whole numbers are those of COCO's 80 classes, from 0.
    """
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    if plain.isdigit():
        if int(plain) >= len(COCO):
            raise UnknownClass(name)
        plain = COCO[int(plain)].replace(" ", "_")
    for part in (plain, *reversed(re.split(r"[./]", plain))):
        if part in MEANING:
            return MEANING[part]
    raise UnknownClass(name)


def kinds_by_name(text: str) -> dict[str, Kind | None]:
    """A user's own names, "pallet_jack=vehicle, forklift driver=person": each to one of person, rider, two_wheeler, vehicle or other.

    Raises ValueError for another form."""
    own: dict[str, Kind | None] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, meaning = (part.strip() for part in pair.partition("="))
        if not name or meaning.upper() not in (*Kind.__members__, "OTHER"):
            raise ValueError(f"{pair!r}: write NAME=KIND, KIND one of {', '.join(kind.lower() for kind in Kind.__members__)} or other")
        own[name] = Kind.__members__.get(meaning.upper())
    return own
