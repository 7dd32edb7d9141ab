"""Random poses: joint angles by activity, and the bone rotations that they mean."""

import math
from dataclasses import dataclass

import numpy as np
from bodies import Bodies, Floats

__all__ = ["Pose", "draw_pose", "rotate", "solve"]

SIDES = (("L", 1), ("R", -1))
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03", "head")
DOWN = np.array([0.0, 0.0, -1.0])

ACTIVITIES = {
    "stand": 0.2,
    "walk": 0.15,
    "run": 0.12,
    "reach": 0.14,
    "sit": 0.06,
    "squat": 0.06,
    "lunge": 0.09,
    "bend": 0.06,
    "kick": 0.06,
    "lie": 0.03,
    "tumble": 0.03,
}


@dataclass(slots=True)
class Limb:
    """Angles in degrees of a shoulder and elbow, or a hip and knee.

    Attributes:
        forward: the upper part, swung forward from hanging down.
        out: away from the body.
        turn: about its own axis.
        bend: of elbow or knee.
    """

    forward: float
    out: float
    turn: float
    bend: float


@dataclass(slots=True)
class Pose:
    """A whole pose, in degrees.

    Attributes:
        arms: left and right.
        legs: left and right.
        spine: bent forward, sideways, twisted.
        head: nodded, turned.
        tilt: of the whole body, forward.
    """

    arms: dict[str, Limb]
    legs: dict[str, Limb]
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)
    head: tuple[float, float] = (0.0, 0.0)
    tilt: float = 0.0


def rotate(axis: str, degrees: float) -> Floats:
    """Rotation matrix about x, y or z."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def draw_pose(random: np.random.Generator) -> Pose:  # noqa: C901  one case for each activity
    """Draw an activity and its angles."""
    activity = str(random.choice(list(ACTIVITIES), p=np.array(list(ACTIVITIES.values())) / sum(ACTIVITIES.values())))

    def near(mean: float, spread: float, low: float = -180, high: float = 180) -> float:
        return float(np.clip(random.normal(mean, spread), low, high))

    arms = {side: Limb(near(5, 18), near(14, 10, 2), near(0, 30), abs(near(25, 25))) for side, _ in SIDES}
    legs = {side: Limb(near(3, 7), near(6, 5, -4), near(0, 10), abs(near(4, 7))) for side, _ in SIDES}
    pose = Pose(arms, legs, (near(5, 8), near(0, 6), near(0, 10)), (near(5, 14), near(0, 28, -65, 65)))
    front, back = ("L", "R") if random.random() < 0.5 else ("R", "L")
    match activity:
        case "stand":
            for arm in arms.values():
                if random.random() < 0.3:  # a hand on the hip
                    arm.forward, arm.out, arm.turn, arm.bend = near(-25, 8), near(45, 8), near(35, 15), near(105, 12)
        case "walk" | "run":
            fast = activity == "run"
            swing = near(50, 14, 20, 85) if fast else near(28, 8, 10, 45)
            legs[front] = Limb(swing, near(3, 3), near(0, 5), abs(near(55 if fast else 8, 25 if fast else 7)))
            legs[back] = Limb(-0.7 * swing, near(3, 3), near(0, 5), abs(near(70 if fast else 14, 30 if fast else 8)))
            for side, sign in ((front, -1), (back, 1)):
                arms[side] = Limb(sign * 0.8 * swing + near(0, 8), near(9, 5), near(0, 15), abs(near(90 if fast else 22, 16)))
            pose.spine = (near(15 if fast else 6, 6), near(0, 4), near(0, 8))
        case "reach":
            for side in ("L", "R") if random.random() < 0.5 else (front,):
                arms[side] = Limb(near(60, 60, -20, 175), near(90, 50, 5, 175), near(0, 40), abs(near(25, 35)))
        case "sit" | "squat":
            lift = near(85, 10) if activity == "sit" else near(95, 18, 50, 125)
            for side, _ in SIDES:
                legs[side] = Limb(lift + near(0, 5), near(12, 10, -5, 45), near(0, 10), near(lift + 8, 16, 10, 140))
                arms[side] = Limb(near(45, 30), near(15, 12), near(-8, 22), near(50, 35, 0, 140))
            pose.spine = (near(10 if activity == "sit" else 24, 12), near(0, 6), near(0, 8))
        case "lunge":
            legs[front] = Limb(near(75, 15, 40, 110), near(6, 6), 0, near(80, 18, 20, 120))
            legs[back] = Limb(near(-22, 12), near(4, 5), 0, abs(near(35, 25)))
            for side, _ in SIDES:
                arms[side] = Limb(near(40, 50), near(30, 30, 0, 110), near(0, 30), abs(near(45, 40)))
        case "bend":
            pose.spine, pose.tilt = (near(45, 15, 10, 75), near(0, 8), near(0, 12)), near(30, 15)
            for side, _ in SIDES:
                legs[side] = Limb(near(35, 15), near(9, 7), 0, abs(near(20, 18)))
                arms[side] = Limb(near(65, 30), near(10, 12), near(0, 20), abs(near(25, 30)))
        case "kick":
            legs[front] = Limb(near(75, 28, 20, 125), near(15, 20, -5, 70), near(0, 12), abs(near(25, 28)))
            for side, _ in SIDES:
                arms[side] = Limb(near(20, 45), near(50, 30, 0, 150), near(0, 30), abs(near(45, 38)))
        case "lie" | "tumble":
            pose.tilt = random.choice([90, -90]) + near(0, 15) if activity == "lie" else 180 + near(0, 25)
            for side, _ in SIDES:
                legs[side] = Limb(near(20, 30), near(14, 14), 0, abs(near(30, 30)))
                arms[side] = Limb(near(90, 70, -30, 178), near(25, 25, 0, 150), near(0, 25), abs(near(30, 35)))
    return pose


def solve(bodies: Bodies, shape: int, pose: Pose) -> Floats:
    """Return the world rotation of each bone: (B, 3, 3)."""
    local = {name: rotate("z", pose.spine[2] / 5) @ rotate("y", pose.spine[1] / 5) @ rotate("x", pose.spine[0] / 5) for name in SPINE}
    local |= {name: rotate("z", pose.head[1] / 4) @ rotate("x", pose.head[0] / 4) for name in NECK}
    for side, sign in SIDES:
        # Above the horizontal the shoulder blade takes part.
        lift = min(1.0, max(0.0, (max(abs(pose.arms[side].out), pose.arms[side].forward) - 50) / 110))
        local |= {f"{name}.{side}": rotate("y", -sign * 14 * lift) for name in ("clavicle", "shoulder01")}
    root = rotate("x", pose.tilt)
    rotations = _chain(bodies, local, {}, root)
    torso = rotations[bodies.bone("spine01")]
    fixed: dict[int, Floats] = {}
    for side, sign in SIDES:
        joints = [bodies.heads[shape, bodies.bone(f"{name}.{side}")] for name in ("upperarm01", "lowerarm01", "wrist")]
        fixed |= _limb(bodies, side, ("upperarm", "lowerarm"), joints, pose.arms[side], torso, sign=sign, hinge=-1.0)
        joints = [bodies.heads[shape, bodies.bone(f"{name}.{side}")] for name in ("upperleg01", "lowerleg01", "foot")]
        fixed |= _limb(bodies, side, ("upperleg", "lowerleg"), joints, pose.legs[side], root, sign=sign, hinge=1.0)
    return _chain(bodies, local, fixed, root)


def _chain(bodies: Bodies, local: dict[str, Floats], fixed: dict[int, Floats], root: Floats) -> Floats:
    """Carry rotations from the root outwards; bones in ``fixed`` have theirs already."""
    rotations = np.empty((len(bodies.bones), 3, 3))
    for bone, (name, parent) in enumerate(zip(bodies.bones, bodies.parents, strict=True)):
        carried = root if parent < 0 else rotations[parent]
        rotations[bone] = fixed[bone] if bone in fixed else carried @ local.get(str(name), np.eye(3))
    return rotations


def _limb(
    bodies: Bodies, side: str, parts: tuple[str, str], joints: list[Floats], limb: Limb, carrier: Floats, *, sign: int, hinge: float
) -> dict[int, Floats]:
    """Turn both halves of a limb from where they are at rest to where the angles want them.

    Elbows bend forward and knees back: ``hinge`` is the x of the axis that they bend about when the limb hangs down.
    """
    swing = rotate("x", -limb.forward) @ rotate("y", -sign * limb.out) @ rotate("z", sign * limb.turn)
    axis = np.array([hinge, 0.0, 0.0])
    bent = rotate("x", hinge * limb.bend) @ DOWN
    upper, lower = joints[1] - joints[0], joints[2] - joints[1]
    # A straight limb at rest has no plane of its own; a leg's is that of its hinge.
    rest_axis = np.cross(upper, lower) if hinge < 0 else axis
    result = {}
    for part, rest, wanted in ((parts[0], upper, DOWN), (parts[1], lower, bent)):
        turned = carrier @ _frame(swing @ wanted, swing @ axis) @ _frame(rest, rest_axis).T
        result |= {bodies.bone(f"{part}{number}.{side}"): turned for number in ("01", "02")}
    return result


def _frame(along: Floats, normal: Floats) -> Floats:
    """Right-handed axes with the first ``along`` and the second as near to ``normal`` as can be."""
    first = along / np.linalg.norm(along)
    second = normal - first * (first @ normal)
    second = second / np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)
