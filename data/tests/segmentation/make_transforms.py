"""What mmseg 1.2.2 and mmcv 2.1.0 (OpenCV 5.0.0, numpy 2.4.6, Pillow 13.0.0) make of a small image and its labels.

    python make_transforms.py        (seed 21; writes the PNG files and transforms.json beside itself)

    image.png, labels.png         the input: 67 x 45 pixels; six classes and ignored pixels
    resized_K.png, labels_K.png   RandomResize(scale, ratio_range=(ratio, ratio), keep_ratio=True) of case K of `resizes`
    sizes                         [width, height, long, short, ratio, new width, new height] by the same class
    crops                         RandomCrop: the places that its random numbers gave, and the one it took
    photometric                   PhotoMetricDistortion: what its random numbers were (null: no change), and the image
    reduced                       LoadAnnotations(reduce_zero_label=True) of a file that holds 0 to 255
    indexed.png, indexed          LoadAnnotations of a palette file of 4 bits
    interlaced.png                the same pixels and palette, interlaced (Adam7), which Pillow reads and does not write
"""
import json
import sys
import types
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image

warnings.filterwarnings("ignore")
# What mmcv compiles is not used here.
extension = types.ModuleType("mmcv._ext")
extension.__getattr__ = lambda name: (lambda *a, **k: None) if not name.startswith("__") else None
sys.modules["mmcv._ext"] = extension
import mmseg.datasets.transforms  # noqa: registers what is built below
from mmcv.transforms import RandomResize
from mmseg.datasets.transforms import LoadAnnotations, PhotoMetricDistortion, RandomCrop
from mmseg.datasets.transforms import transforms as mmseg_transforms

rng = np.random.default_rng(21)
WIDTH, HEIGHT = 67, 45

y, x = np.mgrid[:HEIGHT, :WIDTH]
waves = [np.sin(x / a + y / b + c) for a, b, c in ((9, 31, 0), (-17, 8, 1), (23, 11, 2))]
image = np.stack(waves, axis=2) * 120 + 128 + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
image = np.clip(image, 0, 255).astype(np.uint8)  # blue, green, red, as mmcv reads files
labels = np.zeros((HEIGHT, WIDTH), np.uint8)
for value in (1, 2, 255, 3, 4, 1, 5, 2):
    x0, y0 = rng.integers(0, WIDTH - 8), rng.integers(0, HEIGHT - 8)
    labels[y0 : y0 + rng.integers(5, 24), x0 : x0 + rng.integers(5, 24)] = value
cv2.imwrite("image.png", image)
Image.fromarray(labels).save("labels.png")


def results():
    return {"img": image.copy(), "gt_seg_map": labels.copy(), "seg_fields": ["gt_seg_map"], "img_shape": image.shape[:2]}


resizes = [(128, 32, 0.5), (128, 32, 1.37), (100, 100, 0.917), (67, 45, 1.0), (51, 200, 0.7312)]
for case, (long, short, ratio) in enumerate(resizes):
    found = RandomResize((long, short), ratio_range=(ratio, ratio), keep_ratio=True)(results())
    cv2.imwrite(f"resized_{case}.png", found["img"])
    Image.fromarray(found["gt_seg_map"]).save(f"labels_{case}.png")

sizes = []
for _ in range(200):
    width, height = (int(v) for v in rng.integers(1, 300, 2))
    long, short = [(256, 64), (320, 80), (41, 41)][rng.integers(3)]
    ratio = float(rng.uniform(0.5, 2.0))
    scale = RandomResize._random_sample_ratio((long, short), (ratio, ratio))
    new = mmseg_transforms.mmcv.image.geometric.rescale_size((width, height), scale)
    sizes.append([width, height, long, short, ratio, *(int(side) for side in new)])

crops = []
for height, width, ratio in [(20, 20, 0.75), (20, 20, 0.5), (12, 30, 0.4), (45, 10, 0.75), (60, 25, 0.6), (9, 9, 0.75), (30, 30, 1.0), (26, 25, 0.38)] * 4:
    drawn = []
    original = np.random.randint

    def recorded(low, high):
        drawn.append(int(original(low, high)))
        return drawn[-1]

    np.random.seed(int(rng.integers(1 << 31)))
    np.random.randint = recorded
    crop = RandomCrop((height, width), cat_max_ratio=ratio)
    y0, y1, x0, x1 = crop.crop_bbox(results())
    np.random.randint = original
    places = [[drawn[i + 1], drawn[i]] for i in range(0, len(drawn), 2)]
    crops.append({"height": height, "width": width, "ratio": ratio, "drawn": places, "taken": [int(x0), int(y0)]})


class Recorder:
    """numpy.random, in the order in which PhotoMetricDistortion asks."""

    def __init__(self):
        self.asked = []

    def randint(self, *bounds):
        self.asked.append(int(np.random.randint(*bounds)))
        return self.asked[-1]

    def uniform(self, low, high):
        self.asked.append(float(np.random.uniform(low, high)))
        return self.asked[-1]


def parts(asked):
    """brightness, whether contrast is first, contrast, saturation, hue from the numbers asked for."""
    left = iter(asked)
    optional = lambda: next(left) if next(left) else None
    brightness = optional()
    first = bool(next(left))
    if first:
        contrast, saturation, hue = optional(), optional(), optional()
    else:
        saturation, hue, contrast = optional(), optional(), optional()
    assert next(left, None) is None
    return {"brightness": brightness, "contrast_first": first, "contrast": contrast, "saturation": saturation, "hue": hue}


photometric = []
small = image[::15, :64].copy()  # OpenCV rounds differently in what a row has beyond multiples of its vectors
for seed in range(24):
    np.random.seed(seed)
    mmseg_transforms.random = recorder = Recorder()
    changed = PhotoMetricDistortion()({"img": small.copy()})["img"]
    photometric.append({**parts(recorder.asked), "pixels": changed[:, :, ::-1].tobytes().hex()})


def loaded(file, reduce_zero_label):
    loader = LoadAnnotations(reduce_zero_label=reduce_zero_label)
    found = {"seg_map_path": file, "reduce_zero_label": reduce_zero_label, "seg_fields": []}
    loader._load_seg_map(found)
    return found["gt_seg_map"].reshape(-1).tolist()


Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save("values.png")
indexed = Image.fromarray(rng.integers(0, 11, (7, 13)).astype(np.uint8), "P")
indexed.putpalette([int(v) for v in rng.integers(0, 256, 33)])
indexed.save("indexed.png", bits=4)


def chunk(kind, content):
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


def interlaced(pixels, palette):
    rows = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in pixels[y0::dy, x0::dx] if pixels[y0::dy, x0::dx].size else ():
            row = [int(v) for v in row] + [0] * (len(row) % 2)
            rows += b"\0" + bytes(row[i] << 4 | row[i + 1] for i in range(0, len(row), 2))
    height, width = pixels.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([4, 3, 0, 0, 1])
    parts = [(b"IHDR", header), (b"PLTE", bytes(palette)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


open("interlaced.png", "wb").write(interlaced(np.array(indexed), indexed.getpalette()[:33]))
assert (np.array(Image.open("interlaced.png")) == np.array(indexed)).all()
json.dump(
    {
        "resizes": resizes,
        "sizes": sizes,
        "crops": crops,
        "photometric": {"width": small.shape[1], "height": small.shape[0], "pixels": small[:, :, ::-1].tobytes().hex(), "cases": photometric},
        "reduced": loaded("values.png", True),
        "indexed": loaded("indexed.png", False),
    },
    open("transforms.json", "w"),
    separators=(",", ":"),
)
