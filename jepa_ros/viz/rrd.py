"""`output.rrd`: a run for the Rerun viewer, with its layout. Needs rerun-sdk: pip install 'jepa_ros[rerun]'.

Two timelines. `seen`: everything at the stamp that it was made from. `due`: what is predicted stands at the moment that it is predicted
for, over what was then really seen.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb

from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing import anchor_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import NANOSECONDS, FloatArray, Observation, Plan, PlanStatus, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import OUTLINE_STEPS
from jepa_ros.viz.boxes import boxed, colour_of, is_moving, label_of
from jepa_ros.viz.camera import PERSON_HEIGHT_M
from jepa_ros.viz.report.moments import HEIGHTS_M, Moment

try:
    import rerun
    import rerun.blueprint as layout
except ImportError:
    rerun = layout = None

MISSING = f"rerun-sdk is not installed: {sys.executable} -m pip install rerun-sdk (0.2 GB to fetch, 0.5 GB on disk), then again"
MOST_POINTS = 9000  # of a sweep: as many as can be told apart on a screen
SHOWN_FROM = 0.2  # probability from which a cell has a tile
TILES = (0.95, 0.75, 0.55, 0.35)  # of a cell, for each horizon
LAYER_M = 0.02  # the tiles of the horizons lie above one another
BACKGROUND = theme.INK
PLAN_RADIUS_M, WAY_RADIUS_M = 0.10, 0.05


def is_installed() -> bool:
    """Whether such files can be written."""
    return rerun is not None


class Recording:
    """One file, from construction to `close()`. Raises ImportError without rerun-sdk."""

    def __init__(self, path: Path, first_ns: int, image_px: tuple[int, int] | None, robot: Footprint | float = 0.4) -> None:
        """first_ns: the stamp at which the timelines begin. image_px: width and height of the moments' images; None = no camera.
        robot: a number is the radius of a disc, m."""
        if rerun is None:
            raise ImportError(MISSING)
        self._first_ns, self._image_px = first_ns, image_px
        self._stream = rerun.RecordingStream("jepa_ros")
        self._stream.save(path, default_blueprint=_layout(image_px))
        self._log("odom", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self._footprint = Footprint.of(robot)
        if self._footprint.is_round:
            body = rerun.Cylinders3D(lengths=[0.6], radii=[self._footprint.radius_m], centers=[(0, 0, 0.3)], colors=[_rgba(theme.GRID)])
        else:
            body = rerun.LineStrips3D([_closed(self._footprint.outline_N2)], colors=[_rgba(theme.GRID)], radii=[0.03])
        self._log("odom/robot/body", body, static=True)
        ahead = rerun.Arrows3D(vectors=[(1.2, 0, 0)], origins=[(0, 0, 0.6)], radii=[0.06], colors=[_rgba(theme.GRID)])
        self._log("odom/robot/ahead", ahead, static=True)
        for name, colour in (("latency_ms", theme.HORIZON_COLOURS[1]), ("surprise", theme.HORIZON_COLOURS[3])):
            self._log(f"curves/{name}", rerun.SeriesLines(colors=[_rgba(colour)], names=[name]), static=True)

    def close(self) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def add(self, observation: Observation, state: SceneState, plan: Plan | None, moment: Moment) -> None:
        """`state`, `plan` and `moment` belong to `observation`."""
        points_m = anchor_points(observation)
        ground = Terrain.fit(points_m, observation.ground_height_m)
        self._at(state.stamp_ns)
        pose = state.anchor_pose
        self._log("odom/robot", rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        self._points(points_m, ground)
        self._people(state, ground)
        self._vehicles(state, ground)
        self._plan(state, plan, ground)
        self._camera(moment)
        self._occupancy(state, float(ground.at(np.zeros((1, 2)))[0]))

    def curve(self, name: str, stamp_ns: int, value: float) -> None:
        """One value of `surprise` or `latency_ms`."""
        self._at(stamp_ns)
        self._log(f"curves/{name}", rerun.Scalars([value]))

    def say(self, stamp_ns: int, text: str, good: bool) -> None:
        """A line in the list of plans."""
        self._at(stamp_ns)
        self._log("plans", rerun.TextLog(text, level="INFO" if good else "WARN"))

    def _at(self, stamp_ns: int, ahead_s: float = 0.0) -> None:
        seen_s = (stamp_ns - self._first_ns) / NANOSECONDS
        self._stream.set_time("seen", duration=seen_s)
        self._stream.set_time("due", duration=seen_s + ahead_s)

    def _log(self, entity: str, what: object, static: bool = False) -> None:
        self._stream.log(entity, what, static=static)

    def _points(self, points_m: FloatArray, ground: Terrain) -> None:
        height = points_m[:, 2] - ground.at(points_m[:, :2])
        shown = np.flatnonzero(height < HEIGHTS_M[1])
        shown = shown[:: max(1, -(-len(shown) // MOST_POINTS))]
        share = np.clip(height[shown] / 3.0, 0.0, 1.0)
        colours = (255 * theme.HEIGHT(share)).astype(np.uint8)
        self._log("odom/robot/points", rerun.Points3D(points_m[shown], colors=colours, radii=[0.03]))

    def _people(self, state: SceneState, ground: Terrain) -> None:
        people, forecast, walks = state.people, state.pedestrians, theme.moving(state)
        feet_m = _lifted(people.positions_m, state, ground, 0.1)
        sizes = np.column_stack([people.radii_m, people.radii_m, np.full(len(people.ids), 0.5 * PERSON_HEIGHT_M)])
        speeds = np.hypot(*people.velocities_mps.reshape(-1, 2).T)
        names = [f"cyclist {one}" if rides else f"{one}" for one, rides in zip(people.ids, people.cyclists, strict=True)]
        boxes = rerun.Boxes3D(
            centers=_lifted(people.positions_m, state, ground, 0.5 * PERSON_HEIGHT_M),
            half_sizes=sizes,
            colors=[_rgba(theme.colour_of(int(one)), 255 if walk else 120) for one, walk in zip(people.ids, walks, strict=True)],
            labels=[f"{name}  {speed:.1f} m/s" if walk else "" for name, speed, walk in zip(names, speeds, walks, strict=True)],
        )
        self._log("odom/people/boxes", boxes)
        strips, colours, radii = [], [], []
        for i in np.flatnonzero(walks):
            share = forecast.probabilities[i] / forecast.probabilities[i].max()
            for mode in np.argsort(share)[-6:]:
                way = _lifted(forecast.modes_m[i, mode], state, ground)
                way[:, 2] = feet_m[i, 2]  # far ground is seen too sparsely to follow
                strips.append(np.concatenate([feet_m[i : i + 1], way]))
                colours.append(_rgba(theme.colour_of(int(people.ids[i])), round(40 + 215 * float(share[mode]))))
                radii.append(WAY_RADIUS_M * (0.3 + 0.7 * float(share[mode])))
        self._log("odom/people/forecasts", rerun.LineStrips3D(strips, colors=colours, radii=radii))

    def _vehicles(self, state: SceneState, ground: Terrain) -> None:
        """As oriented boxes, with their likeliest ways."""
        found = [told for told in boxed(state) if told.kind == "vehicle"]
        colours = [_rgba(colour_of(told), 255 if is_moving(told) else 120) for told in found]
        middles = [_lifted(told.box[:2], state, ground, 0.5 * told.height_m)[0] for told in found]
        boxes = rerun.Boxes3D(
            centers=np.array(middles).reshape(-1, 3),
            half_sizes=np.array([(0.5 * told.box[3], 0.5 * told.box[4], 0.5 * told.height_m) for told in found]).reshape(-1, 3),
            rotation_axis_angles=[rerun.RotationAxisAngle(axis=(0, 0, 1), radians=float(told.box[2])) for told in found],
            colors=colours,
            labels=[label_of(told) for told in found],
        )
        self._log("odom/vehicles/boxes", boxes)
        moving = [told for told in found if is_moving(told)]
        ways = [_lifted(told.poses[told.probabilities.argmax(), :, :2], state, ground, 0.1) for told in moving]
        strips = rerun.LineStrips3D(ways, colors=[_rgba(colour_of(told)) for told in moving], radii=[WAY_RADIUS_M])
        self._log("odom/vehicles/forecasts", strips)

    def _plan(self, state: SceneState, plan: Plan | None, ground: Terrain) -> None:
        if plan is None or len(plan.path) < 2:
            self._log("odom/plan", rerun.Clear(recursive=True))
            return
        colour = theme.BRAKING if plan.fallback or plan.status != PlanStatus.OK else theme.PLAN
        way = _lifted(plan.path[:, :2], state, ground, 0.15)
        self._log("odom/plan", rerun.LineStrips3D([way], colors=[_rgba(colour)], radii=[PLAN_RADIUS_M]))
        if not self._footprint.is_round:
            outlines = [_lifted(outline, state, ground, 0.05) for outline in self._footprint.placed(plan.path[::-OUTLINE_STEPS])]
            strips = [np.concatenate((outline, outline[:1])) for outline in outlines]
            self._log("odom/plan/footprint", rerun.LineStrips3D(strips, colors=[_rgba(colour, 150)], radii=[0.02]))
        self._log("odom/plan/end", rerun.Points3D([way[-1]], colors=[_rgba(colour)], radii=[2.5 * PLAN_RADIUS_M]))

    def _camera(self, moment: Moment) -> None:
        if not moment.camera:
            return
        jpeg = base64.b64decode(moment.camera.split(",", 1)[1])
        self._log("camera", rerun.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        seen = [person for person in moment.people if person.box_px]
        corners = np.array([person.box_px for person in seen]).reshape(-1, 4)
        colours = [_rgba(person.colour, 255 if person.modes else 150) for person in seen]
        labels = ["" if not person.modes else f"cyclist {person.id}" if person.kind == "cyclist" else f"{person.id}" for person in seen]
        boxes = rerun.Boxes2D(mins=corners[:, :2], sizes=corners[:, 2:] - corners[:, :2], colors=colours, labels=labels)
        self._log("camera/people", boxes)
        ways = [(person.way_px, _rgba(person.colour)) for person in seen if len(person.way_px) > 1]
        self._log("camera/forecasts", rerun.LineStrips2D([way for way, _ in ways], colors=[colour for _, colour in ways], radii=[1.5]))
        colour = theme.BRAKING if moment.braking else theme.PLAN
        inside = [place for place in moment.plan_px if 0 <= place[0] < moment.image_px[0] and 0 <= place[1] < moment.image_px[1]]
        lines = [inside] if len(inside) > 1 else []
        self._log("camera/plan", rerun.LineStrips2D(lines, colors=[_rgba(colour)] * len(lines), radii=[4.0]))

    def _occupancy(self, state: SceneState, ground_m: float) -> None:
        """Tiles for each horizon that pictures show, later ones smaller and above. Fixed in odom: on `due` the robot is elsewhere."""
        occupancy = state.occupancy
        if not occupancy.probability.size:
            return
        for layer, (step, colour) in enumerate(zip(theme.horizon_steps(occupancy.times_s), theme.HORIZON_COLOURS, strict=False)):
            ahead_s = float(occupancy.times_s[step])
            rows, columns = np.nonzero(occupancy.probability[step] >= SHOWN_FROM)
            share = occupancy.probability[step, rows, columns][:, None]
            x, y = (
                occupancy.resolution_m * (cell + 0.5) + corner for cell, corner in zip((columns, rows), occupancy.origin_m, strict=True)
            )
            centres = np.stack([x, y, np.full(len(x), ground_m + LAYER_M * layer), np.ones(len(x))], axis=-1)
            colours = share * np.array(_rgba(colour)[:3]) + (1.0 - share) * np.array(_rgba(BACKGROUND)[:3])
            half_m = 0.5 * TILES[layer] * occupancy.resolution_m
            tiles = rerun.Boxes3D(
                centers=(centres @ state.anchor_pose.T)[:, :3].astype(np.float32),
                half_sizes=[(half_m, half_m, 0.25 * LAYER_M)],
                colors=colours.astype(np.uint8),
                fill_mode=rerun.components.FillMode.Solid,
            )
            self._at(state.stamp_ns, ahead_s)
            self._log(f"odom/occupancy/{'now' if step == 0 else f'in_{ahead_s:.1f}_s'.replace('.', '_')}", tiles)


def _layout(image_px: tuple[int, int] | None) -> object:
    """Camera, curves and plans on the left, the map from behind the robot on the right."""
    eye = layout.EyeControls3D(
        position=(-12.0, 0.0, 12.0), look_target=(5.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0), tracking_entity="odom/robot"
    )
    ground = layout.LineGrid3D(visible=False)
    left = [
        layout.TimeSeriesView(origin="curves", name="latency, ms", contents="curves/latency_ms"),
        layout.TimeSeriesView(
            origin="curves", name="surprise", contents="curves/surprise", axis_y=layout.ScalarAxis(range=(0.0, 1.0), zoom_lock=True)
        ),
        layout.TextLogView(origin="plans", name="plans"),
    ]
    if image_px is not None:
        bounds = layout.VisualBounds2D(x_range=(0, image_px[0]), y_range=(0, image_px[1]))
        left.insert(0, layout.Spatial2DView(origin="camera", name="camera", visual_bounds=bounds))
    return layout.Blueprint(
        layout.Horizontal(
            layout.Vertical(*left, row_shares=[3, 2, 2, 2][-len(left) :]),
            layout.Spatial3DView(
                origin="odom", name="map, forecasts, plan", eye_controls=eye, background=_rgba(BACKGROUND)[:3], line_grid=ground
            ),
            column_shares=[2, 3],
        ),
        layout.TimePanel(timeline="seen", state="collapsed"),
        layout.SelectionPanel(state="collapsed"),
        layout.BlueprintPanel(state="collapsed"),
    )


def _lifted(places_odom_m: FloatArray, state: SceneState, ground: Terrain, above_m: float = 0.0) -> FloatArray:
    """(N, 2) odom -> (N, 3) odom, so high above the ground."""
    places = places_odom_m.reshape(-1, 2)
    height = ground.at(theme.to_anchor(places, state)) + state.anchor_pose[2, 3] + above_m
    return np.column_stack([places, height])


def _rgba(colour: str, alpha: int = 255) -> tuple[int, int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue, alpha


def _closed(corners_N2: FloatArray) -> FloatArray:
    """(N + 1, 3) on the ground of the robot."""
    return np.column_stack((np.append(corners_N2, corners_N2[:1], 0), np.full(len(corners_N2) + 1, 0.05)))
