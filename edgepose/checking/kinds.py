"""Every kind of finding that ``edgepose check`` adds to those of the readers (``edgepose.evaluation.kinds``)."""

from edgepose.findings import Kind, Severity

__all__ = ["KINDS"]  # and a name in capitals for each kind

KINDS: dict[str, Kind] = {}
"""All kinds, by code."""


def _kind(severity: Severity, code: str, message: str, done: str = "") -> Kind:
    KINDS[code] = Kind(code=code, severity=severity, message=message, done=done)
    return KINDS[code]


# Labels.
NOBODY = _kind(
    "error",
    "nobody-to-look-for",
    "nobody has a labelled keypoint and a box, so nobody is looked for",
    "add boxes, or give `evaluate` those of a detector (--detections)",
)
NEVER_LABELLED = _kind("warning", "keypoint-never-labelled", "keypoints that are labelled of nobody", "nothing is measured for them")
UNLABELLED_PEOPLE = _kind("note", "people-unlabelled", "people without a labelled keypoint", "nobody has to find them")
SMALL_PEOPLE = _kind("note", "people-small", "labelled people smaller than 32 by 32 pixels: a pixel of the label decides about them")
ALL_OCCLUDED = _kind("note", "labels-all-occluded", "every label has visibility 1, occluded; COCO writes 2 for visible ones")
SIDES_EXCHANGED = _kind(
    "warning",
    "sides-exchanged",
    "pairs of keypoints look as if left and right were exchanged: in people who face the camera, their left is on the picture's right",
    "exchange the names, or the keypoints",
)
OTHER_NAMES = _kind("error", "keypoints-of-another-model", "keypoint names that aren't the model's", "take files of the same data set")

# Pictures.
PICTURE_MISSING = _kind(
    "error", "picture-missing", "pictures with people that aren't in the folder", "name another folder, or go on with --skip-missing"
)
PICTURE_MISSING_EMPTY = _kind("note", "picture-missing-empty", "pictures without people that aren't in the folder", "not needed")
PICTURE_AMBIGUOUS = _kind(
    "error", "picture-ambiguous", "pictures whose name several files in the folder have", "write the file's folder into file_name"
)
PICTURE_OTHER_SIZE = _kind(
    "error",
    "picture-of-other-size",
    "pictures of another size than the file says",
    "write width and height as the picture is shown (EXIF turns it), and keypoints in its pixels",
)
PICTURE_UNREADABLE = _kind("error", "picture-unreadable", "pictures that can't be read", "replace them, or leave them out")
PICTURE_LARGE = _kind("error", "picture-large", "pictures with more pixels than are allowed", "allow them with --max-pixels")
PICTURE_SAME = _kind("warning", "picture-same", "pictures with the bytes of another one", "each counts")
PICTURE_UNUSED = _kind("note", "picture-unused", "pictures in the folder that the file doesn't name", "not looked at")
PICTURES_ABSENT = _kind(
    "note", "pictures-absent", "none of its pictures is in this folder", "not looked at; name their folder with --images"
)

# Two sets.
SHARED_PICTURE = _kind(
    "warning",
    "picture-in-both",
    "pictures with the bytes of one in the other set: figures on them say nothing about new pictures",
    "leave them out of one",
)
SHARED_NAME = _kind(
    "warning",
    "name-in-both",
    "pictures with the file name of one in the other set: figures on them say nothing about new pictures",
    "name the folders of both with --images and --against-images to compare bytes, or leave them out of one",
)
SHARED_PERSON = _kind("warning", "person-in-both", "labelled people with the keypoints of one in the other set", "leave them out of one")

# Detections and results.
FORM_ALONE = _kind("note", "form-alone", "checked for its form alone", "--annotations FILE compares it with the annotated people")
RESULT_UNUSABLE = _kind(
    "error", "result-unusable", "results without image_id, a score, or x, y and a score for each keypoint", "write them again"
)
RESULT_OTHER_COUNT = _kind("error", "result-of-other-count", "results with another number of keypoints than the first", "write them again")
RESULT_UNKNOWN_PICTURE = _kind("warning", "result-of-unknown-picture", "results of pictures that aren't annotated", "left out")
RESULT_MODEL_COUNT = _kind(
    "error", "result-of-another-model", "the results have another number of keypoints than the annotations or the model", ""
)

# Folders.
SKIPPED = _kind("note", "files-skipped", "files and folders that weren't looked at")
NOTHING_THERE = _kind("error", "folder-without-anything", "nothing in this folder is of a kind that edgepose reads")
