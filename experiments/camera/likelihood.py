"""How much likelier a detector's answer is where somebody stands than where nobody does.

`python -m experiments.camera.likelihood MODEL --clips GIF ... --empty BAG ...`

--clips   short films with people. Who is found at some scale and followed for at least FOLLOWED frames counts as there in each of them,
          also where a single look misses. Each is then looked at once in each size, with the square around it shifted at random. So
          are places in the same films where nobody is.
--empty   bags with camera and lidar in which nobody is within 30 m. Places where something as high as a body stands are looked at.

Prints counts of the bins of the score, by size, and the natural logarithms of the ratios as `objects/camera/likelihood.py` holds them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from jepa_ros.movers import Kind
from jepa_ros.objects.camera.candidates import Candidates, Outlines, outlines
from jepa_ros.objects.camera.likelihood import SCORES, SIZES_PX
from jepa_ros.objects.camera.loading import load_camera_detector
from jepa_ros.objects.camera.matching import matched
from jepa_ros.objects.camera.onnx_detector import distinct
from jepa_ros.protocols import Detector2D
from jepa_ros.sensing import open_bag
from jepa_ros.types import CameraImage, CameraModel, FloatArray, Observation

HEIGHTS_PX = ((42.0, 64.0), (64.0, 110.0), (110.0, 220.0))  # in the detector's input; one range for each row of the table
FOLLOWED, GAP, SURE = 10, 10, 0.5  # frames; the best score of somebody who counts as there
WIDTH = 0.6 / 1.7  # of an outline, by its height
# Of people who are missed (by size), and of clutter that is taken for people, for reasons that few recordings do not show: darkness, odd
# postures, statues, posters.
MISSED, FALSE = np.array([[0.3], [0.15], [0.1]]), 0.01
RANGE_M, CELL_M, BODY_M, RETURNS = 30.0, 1.0, (0.7, 1.9), 3  # where something as high as a body stands
PLACES = 40  # of a sweep
NOBODY = 4  # places without people of a frame of a film


def image_of(rgb: np.ndarray) -> CameraImage:
    """A picture without a known lens."""
    height, width = rgb.shape[:2]
    focal = float(width)
    model = CameraModel(width, height, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]), np.zeros(0))
    return CameraImage(0, "", rgb, model, np.eye(4))


def found_in(detector: Detector2D, image: CameraImage) -> tuple[FloatArray, FloatArray]:
    """People in a whole picture, at two scales: boxes and scores."""
    width, height, boxes, scores = image.model.width, image.model.height, [], []
    for side in (max(width, height), min(width, height)):
        steps = 1 if side >= width else 3
        for left in np.linspace(0.0, max(width - side, 0.0), steps):
            top = 0.5 * (height - side)
            seen = detector.detect(image, np.array([[left, top, left + side, top + side]]))
            people = (seen.kinds == Kind.PERSON) & (seen.scores > 0.25)
            boxes.append(seen.boxes_px[people])
            scores.append(seen.scores[people])
    joined, likely = np.concatenate(boxes), np.concatenate(scores)
    keep = distinct(joined, likely, np.zeros(len(likely), np.intp))
    return joined[keep], likely[keep]


def share(box: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union."""
    both = np.prod(np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None), axis=1)
    area = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    found: FloatArray = both / np.maximum(area - both, 1e-6)
    return found


def people_of(detector: Detector2D, frames: list[CameraImage]) -> Iterator[tuple[int, FloatArray]]:
    """(frame, box) of all who are followed long enough, also in frames in which they were missed."""
    ways: list[dict[int, tuple[FloatArray, float]]] = []
    for number, image in enumerate(frames):
        boxes, scores = found_in(detector, image)
        for box, score in zip(boxes, scores, strict=True):
            near = [way for way in ways if number - max(way) <= GAP and number not in way and share(box, way[max(way)][0][None])[0] > 0.35]
            if near:
                near[0][number] = (box, float(score))
            else:
                ways.append({number: (box, float(score))})
    for way in ways:
        if len(way) < FOLLOWED or max(score for _, score in way.values()) < SURE:
            continue
        known = sorted(way)
        for number in range(known[0], known[-1] + 1):
            box = np.array([np.interp(number, known, [way[k][0][side] for k in known]) for side in range(4)])
            height, width = frames[number].rgb.shape[:2]
            if box[0] > 2 and box[1] > 2 and box[2] < width - 3 and box[3] < height - 3:  # whole
                yield number, box


def look(detector: Detector2D, image: CameraImage, seen: Outlines, height_px: float, rng: np.random.Generator) -> tuple[float, bool]:
    """The score of one outline in a look in which it is so high, and whether it may be hidden."""
    left, top, right, bottom = seen.boxes_px[0]
    side = detector.side_px * (bottom - top) / height_px
    x = left - rng.uniform(0.05, 0.95) * (side - (right - left))
    y = top - rng.uniform(0.2, 0.7) * (side - (bottom - top))
    scores, hidden = matched(seen, detector.detect(image, np.array([[x, y, x + side, y + side]])), image.model.intrinsics[0, 0])
    return float(scores[0]), bool(hidden[0])


def count(bins: np.ndarray, detector: Detector2D, image: CameraImage, seen: Outlines, rng: np.random.Generator) -> None:
    """Look at one outline in each size, and count the bin of the score unless something else may hide who is there."""
    for row, sizes in enumerate(HEIGHTS_PX):
        score, hidden = look(detector, image, seen, rng.uniform(*sizes), rng)
        if not hidden:
            bins[row, np.digitize(score, SCORES)] += 1


def looks_in(detector: Detector2D, frames: list[CameraImage], rng: np.random.Generator) -> Iterator[tuple[CameraImage, bool, Outlines]]:
    """Outlines of people, and of as large places where nobody is."""
    people: dict[int, list[FloatArray]] = {}
    for number, box in people_of(detector, frames):
        people.setdefault(number, []).append(box)
    for number, boxes in people.items():
        image = frames[number]
        for box in boxes:
            yield image, True, outline(0.5 * (box[0] + box[2]), box[1], box[3] - box[1])
        everybody = np.concatenate((np.array(boxes), found_in(detector, image)[0]))
        for _ in range(NOBODY):
            height = boxes[0][3] - boxes[0][1]
            middle = rng.uniform(0.5 * WIDTH * height, image.model.width - 0.5 * WIDTH * height)
            place = outline(middle, rng.uniform(0, max(image.model.height - height, 1)), height)
            if (share(place.boxes_px[0], everybody) == 0).all():
                yield image, False, place


def outline(middle: float, top: float, height: float) -> Outlines:
    """One of a body whose box is so high."""
    box = np.array([[middle - 0.5 * WIDTH * height, top, middle + 0.5 * WIDTH * height, top + height]])
    return Outlines(box, np.ones(1), np.ones(1))


def standing(observation: Observation, rng: np.random.Generator) -> Candidates:
    """Places, in any order, where something as high as a body stands."""
    points = observation.flattened_m.astype(float)
    height = points[:, 2] - observation.ground_height_m
    near = np.hypot(points[:, 0], points[:, 1]) < RANGE_M
    cells, number = np.unique(
        np.floor(points[near & (height > BODY_M[0]) & (height < BODY_M[1]), :2] / CELL_M).astype(int), axis=0, return_counts=True
    )
    places = rng.permutation(cells[number >= RETURNS]) * CELL_M + 0.5 * CELL_M
    level = np.full(len(places), observation.ground_height_m)
    there = np.column_stack((places, level)) @ observation.odom_from_anchor[:3, :3].T + observation.odom_from_anchor[:3, 3]
    return Candidates(there, np.full(len(places), 1.7), np.ones(len(places)))


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--clips", nargs="+", type=Path, required=True)
    parser.add_argument("--empty", nargs="+", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    detector, rng = load_camera_detector(args.model), np.random.default_rng(args.seed)
    counts = np.zeros((2, len(HEIGHTS_PX), len(SCORES) + 1), int)  # clutter, person
    for clip in args.clips:
        with Image.open(clip) as film:
            frames = [image_of(np.array(frame.convert("RGB"))) for frame in ImageSequence.Iterator(film)]
        for image, there, seen in looks_in(detector, frames, rng):
            count(counts[int(there)], detector, image, seen, rng)
    for bag in args.empty:
        for observation in open_bag(bag):
            candidates = standing(observation, rng)
            for image in observation.cameras:
                seen = outlines(candidates, np.linalg.inv(observation.ego.odom_from_base @ image.base_from_camera), image.model)
                for one in np.flatnonzero((seen.in_view > 0.9) & (seen.boxes_px[:, 3] - seen.boxes_px[:, 1] > 10))[:PLACES]:
                    count(counts[0], detector, image, seen.take(np.array([one])), rng)
    clutter, person = (part + 0.5 for part in counts.astype(float))
    clutter, person = (part / part.sum(axis=1, keepdims=True) for part in (clutter, person))
    person, clutter = (1 - MISSED) * person + MISSED * clutter, (1 - FALSE) * clutter + FALSE * person
    ratios = np.maximum.accumulate(np.log(person / clutter), axis=1)  # a higher score never says less
    print(json.dumps({"scores": SCORES, "sizes_px": SIZES_PX, "clutter": counts[0].tolist(), "person": counts[1].tolist()}))
    print(json.dumps({"ratios": ratios.round(1).tolist()}))


if __name__ == "__main__":
    main()
