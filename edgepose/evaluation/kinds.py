"""Every kind of finding about annotation files, detections, and the pictures that they name; see ``edgepose.findings``.

A *note* is a repair whose meaning is certain, or says which of two usual ways was taken: figures are what they should be. A *warning* says
that figures may not mean what they seem to. What has no certain meaning is refused by the readers, with the way to mend it.
"""

from edgepose.findings import Kind, Severity

__all__ = ["KINDS"]  # and a name in capitals for each kind

KINDS: dict[str, Kind] = {}
"""All kinds, by code."""


def _kind(severity: Severity, code: str, message: str, done: str = "", *, repaired: bool = False) -> Kind:
    KINDS[code] = Kind(code=code, severity=severity, message=message, done=done, repaired=repaired)
    return KINDS[code]


def _repair(code: str, message: str, done: str) -> Kind:
    return _kind("note", code, message, done, repaired=True)


def _note(code: str, message: str, done: str = "") -> Kind:
    return _kind("note", code, message, done)


def _warning(code: str, message: str, done: str = "") -> Kind:
    return _kind("warning", code, message, done)


def _error(code: str, message: str, done: str) -> Kind:
    return _kind("error", code, message, done)


def _left_out(code: str, message: str) -> Kind:
    return _kind("warning", code, message, "left out")


# Ids.
ID_NOT_INTEGER = _repair("image-id-not-integer", "image ids that aren't 64-bit whole numbers", "taken as they are")
ID_OTHERWISE = _repair("id-written-otherwise", "ids that are written otherwise than those they refer to", "matched by what they say")
ID_BY_NAME = _repair("image-id-is-name", "image ids that are file names", "matched by the pictures' file names")
NO_IMAGE_ID = _repair("image-id-missing", "images without an id", "found by their file names")
NO_ANNOTATION_ID = _repair("annotation-id-missing", "annotations without a usable id", "numbered; nothing refers to them")
ANNOTATION_ID_TWICE = _repair("annotation-id-repeated", "annotations with the id of an earlier one", "numbered anew")
ANNOTATION_TWICE = _left_out("annotation-repeated", "annotations that repeat an earlier one, id and all")
PERSON_TWICE = _warning("person-repeated", "people with the picture, box and keypoints of an earlier one", "counted twice")

# Categories and names.
NO_CATEGORIES = _note("categories-missing", "the file lists no categories", "all annotations are taken; no names are compared")
NO_CATEGORY = _repair("category-missing", "annotations without a category", "taken for the only one with keypoints")
OTHER_KEYPOINTS = _repair("category-of-other-keypoints", "categories with keypoints of their own", "left out: they aren't the model's")
UNKNOWN_CATEGORY = _left_out("annotation-of-unknown-category", "annotations of categories that the file doesn't list")
OTHER_CATEGORY = _note("annotation-of-other-category", "annotations of categories without keypoints", "left out")
MORE_NAMES = _repair("more-names-than-keypoints", "keypoint names without numbers in the lists", "the first names are taken")
FILE_UNNAMED = _note("keypoints-unnamed", "the file doesn't name its keypoints", "taken to be the model's, in its order")
MODEL_UNNAMED = _warning("model-unnamed", "the model doesn't name its keypoints", "taken to be the file's, in its order")
NAMES_ON_TRUST = _warning(
    "keypoints-as-listed", "keypoint names that aren't the model's", "taken for the same, as --keypoints-as-listed says"
)

# Pictures.
SIZE_OTHERWISE = _repair("picture-size-not-integer", "picture sizes written as text or with decimals", "read as pixels")
NAME_FROM_URL = _repair("file-name-from-url", "pictures without a file name", "named by their address")
NAME_MENDED = _repair("file-name-mended", "file names with another folder or system's path", "found in the folder of the pictures")
NAME_CASE = _repair("file-name-case", "file names spelled otherwise than the files", "found in the folder of the pictures")
PICTURE_TWICE = _warning("picture-repeated", "pictures with the file name of an earlier one", "their people count in each")

# People.
CROWD_OTHERWISE = _repair("crowd-not-integer", "values of iscrowd that aren't 0 or 1", "read as 0 or 1")
BOX_AS_TEXT = _repair("box-as-text", "boxes written as text", "read as numbers")
AREA_AS_TEXT = _repair("area-as-text", "areas written as text", "read as numbers")
NO_AREA_OUTLINE = _note("area-missing-outline", "labelled people without an area", "that of their outline is taken")
NO_AREA_BOX = _note("area-missing-box", "labelled people without an area", "0.53 of their box is taken")
BAD_AREA_OUTLINE = _warning("area-unusable-outline", "labelled people whose area can't be right", "that of their outline is taken")
BAD_AREA_BOX = _warning("area-unusable-box", "labelled people whose area can't be right", "0.53 of their box is taken")
COUNT_OTHERWISE = _repair("num-keypoints-not-integer", "num_keypoints that aren't whole numbers", "read, or counted where unreadable")
COUNT_ZERO = _kind(
    "warning", "num-keypoints-zero", "people with labelled keypoints whose num_keypoints is 0", "counted anew", repaired=True
)
COUNT_OCCLUDED = _note(
    "num-keypoints-visible", "people whose num_keypoints is 0 and whose labels are all occluded", "ignored, as the file asks"
)
COUNT_UNLABELLED = _warning("num-keypoints-unlabelled", "people with num_keypoints above 0 but no label", "ignored: nothing can be judged")
NESTED = _repair("keypoints-nested", "lists of keypoints that are nested", "read in their order")
KEYPOINTS_AS_TEXT = _repair("keypoints-as-text", "lists of keypoints with text, true or false", "read as numbers")
UNLABELLED_PLACE = _repair(
    "unlabelled-not-finite", "unlabelled keypoints whose place isn't a number", "kept unlabelled; their place doesn't matter"
)
LABELLED_PLACE = _warning("labelled-not-finite", "labelled keypoints whose place isn't a number", "counted as unlabelled")
NO_VISIBILITY = _warning("visibility-unreadable", "keypoints with a place but no readable visibility", "counted as unlabelled")
ODD_VISIBILITY = _warning("visibility-odd", "people with visibilities other than 0, 1 and 2", "above 0 counts as labelled")
AT_ORIGIN = _warning("labelled-at-origin", "labelled keypoints at exactly (0, 0), where many tools put those without a label")
UNKNOWN_PICTURE = _left_out("annotation-of-unknown-picture", "annotations of unknown pictures")
NO_BOX = _left_out("box-unusable", "annotations without a usable box")
NO_BOX_LABELLED = _warning(
    "box-unusable-labelled", "labelled people without a usable box", "expected all the same, so without detections they are missed"
)
BAD_KEYPOINTS = _left_out("keypoints-unusable", "annotations with keypoints that aren't finite numbers")
OTHER_COUNT = _left_out("keypoints-of-other-count", "annotations with another number of keypoints than the others")
ODD_AREAS = _warning("areas-odd", "the areas of most people don't fit their boxes: OKS, and so AP, depends on them")
MAYBE_PERCENT = _warning("boxes-percent", "all annotated boxes end at 100: are they in percent instead of pixels?")
OUTSIDE_BOX = _warning("keypoints-outside-box", "people most of whose labelled keypoints lie far outside their box")
OUTSIDE_PICTURE = _warning("keypoints-outside-picture", "labelled keypoints outside the picture")
NORMALISED_BOXES = _error(
    "boxes-normalised",
    "the annotated boxes are normalised: no number is above 2",
    "multiply them by the width and height of the picture: edgepose reads pixels",
)
NORMALISED_KEYPOINTS = _error(
    "keypoints-normalised",
    "the labelled keypoints are normalised: no coordinate is above 2",
    "multiply them by the width and height of the picture: edgepose reads pixels",
)
CORNER_BOXES = _error(
    "boxes-xyxy",
    "the annotated boxes look like left, top, right, bottom: keypoints fit them better so",
    "write left, top, width, height, as COCO does",
)
CENTRE_BOXES = _error(
    "boxes-centred",
    "the annotated boxes look like centre and size: keypoints fit them better so",
    "write left, top, width, height, as COCO does",
)
SWAPPED_KEYPOINTS = _error(
    "keypoints-swapped",
    "x and y look as if they were exchanged, in the boxes or in the keypoints: these fit better so",
    "write x before y",
)
RELATIVE_KEYPOINTS = _error(
    "keypoints-relative",
    "the keypoints look as if they were relative to their box: they lie in it only when its corner is added",
    "write them in pixels of the picture",
)

# Detections.
WRAPPED = _repair("detections-wrapped", "the detections are wrapped in an object", "its only list of detections is taken")
JSON_LINES = _repair("detections-as-lines", "the detections are lines of JSON", "read line by line")
DETECTION_NO_CATEGORY = _repair("detections-without-category", "detections without a category", "taken for the only one annotated")
DETECTION_CATEGORY_ZERO = _kind(
    "warning",
    "detections-category-zero",
    "detections of category 0, which isn't annotated, and of no other",
    "taken for the only category annotated",
    repaired=True,
)
SCORE_OTHERWISE = _repair("score-not-number", "scores that are text, or a list of one", "read as numbers")
SCORE_IN_BOX = _repair("score-in-box", "boxes with the score as their fifth number", "read as box and score")
BOX_BY_NAME = _repair("box-as-object", "boxes whose numbers are named", "read by their names")
SCORES_ABOVE_ONE = _warning("scores-above-one", "scores above 1, as if in percent", "figures depend on their order alone")
OTHER_DETECTION = _note("detection-of-other-category", "detections of other categories", "left out")
UNKNOWN_DETECTION = _left_out("detection-of-unknown-picture", "detections of unknown pictures")
BAD_DETECTION_BOX = _left_out("detection-box-unusable", "boxes that can't be used")
BAD_SCORE = _left_out("score-unusable", "detections without a usable score")
LOW_SCORE = _note("score-low", "detections below the least score", "left out")
FEW_OVERLAPS = _warning(
    "detections-overlap-few",
    "labelled people with whom no detection overlaps by a third",
    "are the boxes left, top, width, height in pixels of these pictures, and the image ids those of the annotations?",
)
MAYBE_PERCENT_DETECTIONS = _warning("detections-percent", "all detections end at 100: are they in percent instead of pixels?")
NORMALISED_DETECTIONS = _error(
    "detections-normalised",
    "the boxes of the detections are normalised: no number is above 2",
    "multiply them by the width and height of the picture: edgepose reads pixels",
)
IDS_OF_NAMES = _error(
    "detections-ids-of-names",
    "the image ids of the detections look like the numbers in file names, not like the annotations' ids",
    "write the ids of the annotations",
)
OTHER_DETECTION_BOXES = _error(
    "detections-other-form",
    "the boxes of the detections look like another form than left, top, width, height",
    "write left, top, width, height, as COCO does",
)
PERCENT_AND_LIMIT = _error(
    "scores-above-limit",
    "scores of the detections are above 1, as if in percent, and --min-box-score isn't",
    "give --min-box-score on the scale of the scores",
)
