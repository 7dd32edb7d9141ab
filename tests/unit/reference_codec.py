"""The published ViTPose procedure (mmpose 0.x), step by step and one keypoint at a time: slow, literal, and independent of edgepose.

Arrays are float32 wherever the published code has float32, because a flat heatmap turns its rounding into whole pixels.
"""

import math

import cv2
import numpy as np


def box_to_centre_and_scale(box_xyxy, width, height, padding=1.25):
    """``_box2cs``: float32 centre and scale, the scale in units of 200 pixels."""
    x, y = box_xyxy[0], box_xyxy[1]
    w, h = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    aspect = width / height
    centre = np.array([x + w * 0.5, y + h * 0.5], dtype=np.float32)
    if w > aspect * h:
        h = w / aspect
    elif w < aspect * h:
        w = h * aspect
    return centre, np.array([w / 200.0, h / 200.0], dtype=np.float32) * padding


def udp_matrix(centre, scale, width, height):
    """``get_warp_matrix`` without rotation, called with twice the centre, the input size less one, and the size in pixels."""
    double_centre, size = centre * 2.0, scale * 200.0
    matrix = np.zeros((2, 3), dtype=np.float32)
    for axis, side in enumerate((width - 1.0, height - 1.0)):
        ratio = np.float64(side) / size[axis]
        matrix[axis, axis] = ratio
        matrix[axis, 2] = ratio * np.float32(-0.5 * double_centre[axis] + 0.5 * size[axis])
    return matrix


def standard_matrix(centre, scale, width, height):
    """``get_affine_transform`` without rotation or shift: from three pairs of points."""
    size = scale * 200.0
    source = np.zeros((3, 2), dtype=np.float32)
    source[0] = centre
    source[1] = centre + np.array([0.0, size[0] * -0.5])
    step = source[0] - source[1]
    source[2] = source[1] + np.array([-step[1], step[0]], dtype=np.float32)
    target = np.array(
        [[width * 0.5, height * 0.5], [width * 0.5, height * 0.5 - width * 0.5], [0.0, height * 0.5 - width * 0.5]], np.float32
    )
    return cv2.getAffineTransform(source, target)


def crop(image, box_xyxy, width, height, kind, padding=1.25):
    """The normalised crop (3, height, width) of one box, and the crop before normalization."""
    centre, scale = box_to_centre_and_scale(box_xyxy, width, height, padding)
    matrix = (udp_matrix if kind == "udp" else standard_matrix)(centre, scale, width, height)
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    planes = warped.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    return (planes - mean[:, None, None]) / std[:, None, None], warped


def peaks(heatmaps):
    """``_get_max_preds``: float32 coordinates (N, K, 2), -1 where nothing is above zero, and the highest values (N, K)."""
    people, keypoints, height, _ = heatmaps.shape
    coordinates = np.zeros((people, keypoints, 2), np.float32)
    highest = np.zeros((people, keypoints), np.float32)
    for n in range(people):
        for k in range(keypoints):
            best, where = -math.inf, (0, 0)
            for y in range(height):
                row = heatmaps[n, k, y]
                x = int(np.argmax(row))
                if row[x] > best:
                    best, where = row[x], (x, y)
            highest[n, k] = best
            coordinates[n, k] = where if best > 0 else (-1, -1)
    return coordinates, highest


def dark_udp(coordinates, heatmaps, kernel):
    """``post_dark_udp``: reads the padded, smoothed logarithm as one long array, with Python's meaning of negative indices."""
    people, keypoints, height, width = heatmaps.shape
    padded = []
    for n in range(people):
        for k in range(keypoints):
            smooth = cv2.GaussianBlur(heatmaps[n, k].copy(), (kernel, kernel), 0)
            logarithm = np.log(np.clip(smooth, np.float32(0.001), np.float32(50)))
            padded.append(np.pad(logarithm, 1, mode="edge").ravel())
    line = np.concatenate(padded)
    refined = coordinates.copy()
    for n in range(people):
        for k in range(keypoints):
            x, y = coordinates[n, k]
            at = int(x + 1 + (y + 1) * (width + 2)) + (width + 2) * (height + 2) * (n * keypoints + k)
            here, right, left = line[at], line[at + 1], line[at - 1]
            below, above = line[at + width + 2], line[at - width - 2]
            after, before = line[at + width + 3], line[at - width - 3]
            slope = np.array([np.float32(0.5) * (right - left), np.float32(0.5) * (below - above)], np.float64)
            dxx = right - np.float32(2) * here + left
            dyy = below - np.float32(2) * here + above
            dxy = np.float32(0.5) * (after - right - below + here + here - left - above + before)
            hessian = np.array([[dxx, dxy], [dxy, dyy]], np.float64) + np.finfo(np.float32).eps * np.eye(2)
            refined[n, k] = coordinates[n, k] - np.linalg.inv(hessian) @ slope
    return refined


def quarter_pixel(coordinates, heatmaps):
    """The default post-processing of heads trained without UDP."""
    people, keypoints, height, width = heatmaps.shape
    refined = coordinates.copy()
    for n in range(people):
        for k in range(keypoints):
            x, y = int(coordinates[n, k, 0]), int(coordinates[n, k, 1])
            if 1 < x < width - 1 and 1 < y < height - 1:
                heatmap = heatmaps[n, k]
                refined[n, k, 0] += np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]) * 0.25
                refined[n, k, 1] += np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]) * 0.25
    return refined


def decode(heatmaps, kind, kernel=11):
    """Coordinates (N, K, 2) in heatmap pixels and scores (N, K)."""
    coordinates, highest = peaks(heatmaps)
    refined = dark_udp(coordinates, heatmaps, kernel) if kind == "udp" else quarter_pixel(coordinates, heatmaps)
    return refined, highest


def to_image(coordinates, centre, scale, heatmap_width, heatmap_height, kind):
    """``transform_preds`` of one person's coordinates (K, 2)."""
    size = scale.astype(np.float64) * 200.0
    ratios = [side / (cells - 1.0 if kind == "udp" else cells) for side, cells in zip(size, (heatmap_width, heatmap_height), strict=True)]
    return np.array([[x * ratios[0] + centre[0] - size[0] * 0.5, y * ratios[1] + centre[1] - size[1] * 0.5] for x, y in coordinates])


def gaussian_target(keypoint_xy, width, height, kind, sigma=2):
    """``_udp_generate_target`` (Gaussian) or ``_msra_generate_target`` of one visible keypoint: its heatmap and whether it is used."""
    cells = (width // 4, height // 4)
    offset = 1.0 if kind == "udp" else 0.0
    strides = [(side - offset) / (count - offset) for side, count in zip((width, height), cells, strict=True)]
    exact = [float(value) / stride for value, stride in zip(keypoint_xy, strides, strict=True)]
    pixel = [int(value + 0.5) for value in exact]
    reach = 3 * sigma
    target = np.zeros((cells[1], cells[0]), np.float32)
    if any(p - reach >= count or p + reach + 1 < 0 for p, count in zip(pixel, cells, strict=True)):
        return target, False
    centre = exact if kind == "udp" else pixel
    for y in range(max(0, pixel[1] - reach), min(cells[1], pixel[1] + reach + 1)):
        for x in range(max(0, pixel[0] - reach), min(cells[0], pixel[0] + reach + 1)):
            target[y, x] = math.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return target, True


def decode_mmpose1(heatmaps, kind, kernel=11):
    """mmpose 1.x's ``UDPHeatmap.decode`` and ``MSRAHeatmap.decode``, person by person: coordinates in heatmap pixels, and scores.

    A keypoint without a positive value is left at (-1, -1).
    """
    coordinates, highest = peaks(heatmaps)
    people, keypoints, height, width = heatmaps.shape
    for n in range(people):
        if kind == "standard":
            for k in range(keypoints):
                x, y = (int(value) for value in coordinates[n, k])
                across = down = 0.0
                if x > 1 and x < width - 1 and y > 0 and y < height:
                    across = heatmaps[n, k, y, x + 1] - heatmaps[n, k, y, x - 1]
                if y > 1 and y < height - 1 and x > 0 and x < width:
                    down = heatmaps[n, k, y + 1, x] - heatmaps[n, k, y - 1, x]
                coordinates[n, k, 0] += 0.25 * np.sign(across)
                coordinates[n, k, 1] += 0.25 * np.sign(down)
            continue
        border = kernel // 2
        for k in range(keypoints):
            if highest[n, k] <= 0:
                continue
            framed = np.zeros((height + 2 * border, width + 2 * border), np.float32)
            framed[border : border + height, border : border + width] = heatmaps[n, k]
            smooth = cv2.GaussianBlur(framed, (kernel, kernel), 0)[border : border + height, border : border + width].copy()
            smooth *= heatmaps[n, k].max() / smooth.max()
            logarithm = np.log(np.clip(smooth, np.float32(0.001), np.float32(50)))
            value = np.pad(logarithm, 1, mode="edge")
            x, y = int(coordinates[n, k, 0]) + 1, int(coordinates[n, k, 1]) + 1
            here, right, left, below, above = value[y, x], value[y, x + 1], value[y, x - 1], value[y + 1, x], value[y - 1, x]
            slope = np.array([np.float32(0.5) * (right - left), np.float32(0.5) * (below - above)], np.float64)
            dxx = right - np.float32(2) * here + left
            dyy = below - np.float32(2) * here + above
            dxy = np.float32(0.5) * (value[y + 1, x + 1] - right - below + here + here - left - above + value[y - 1, x - 1])
            hessian = np.array([[dxx, dxy], [dxy, dyy]], np.float64) + np.finfo(np.float32).eps * np.eye(2)
            coordinates[n, k] -= np.linalg.inv(hessian) @ slope
    return coordinates, highest
