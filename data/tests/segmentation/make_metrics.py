"""Label maps of three small data sets, with what five implementations of mean IoU make of them.

    python make_metrics.py --hf mean_iou.py --detectron2 sem_seg_evaluation.py --sceneparsing utils_eval.py > metrics.json

mmsegmentation 1.2.2, torchmetrics 1.9.0, torch 2.15.0 and numpy 2.4.6 are installed; three files are read from where they
were downloaded, since no package has them:
    huggingface/evaluate @a7dd338, metrics/mean_iou/mean_iou.py
    facebookresearch/detectron2 @02b5c4e, detectron2/evaluation/sem_seg_evaluation.py
    CSAILVision/sceneparsing @e202229, evaluationCode/utils_eval.py
Seed 20. Not a number is null. Per-class lists are by class index.

    ordinary     every class is true and predicted somewhere; some pixels are ignored
    absent       class 2 is neither true nor predicted, 4 is predicted and never true, 6 is true and never predicted
    stray        as `absent`, with predictions of 7, the number of classes (no torchmetrics, which refuses them)
"""
import argparse
import json
import math
import re
import sys
import types
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
# What mmcv compiles is not used here.
extension = types.ModuleType("mmcv._ext")
extension.__getattr__ = lambda name: (lambda *a, **k: None) if not name.startswith("__") else None
sys.modules["mmcv._ext"] = extension
from mmseg.evaluation.metrics import IoUMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

arguments = argparse.ArgumentParser()
for name in ("hf", "detectron2", "sceneparsing"):
    arguments.add_argument(f"--{name}", required=True)
arguments = arguments.parse_args()
CLASSES, IGNORED = 7, 255
rng = np.random.default_rng(20)


def functions_of(path, until=None):
    """What a file defines, without the packages that it registers itself with."""
    text = open(path).read().split(until)[0] if until else open(path).read()
    names = {"np": np}
    text = re.sub(r"^import (datasets|evaluate)$", "", text, flags=re.M)
    exec(compile(text, path, "exec"), names)
    return names


def numbers(value):
    value = np.asarray(value, dtype=np.float64)
    if value.ndim == 0:
        return None if math.isnan(value) else float(value)
    return [numbers(one) for one in value]


def maps(kind):
    pairs = []
    for height, width in ((9, 12), (14, 5), (1, 33)):
        truth = rng.integers(0, CLASSES, (height, width))
        prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, CLASSES, truth.shape))
        if kind != "ordinary":
            truth[truth == 2] = 3
            truth[truth == 4] = 5
            prediction[prediction == 2] = 1
            prediction[prediction == 6] = 0
        if kind == "stray":
            prediction[rng.random(truth.shape) < 0.08] = CLASSES
        truth[rng.random(truth.shape) < 0.1] = IGNORED
        pairs.append((truth, prediction))
    return pairs


def mmseg(pairs):
    areas = [
        IoUMetric.intersect_and_union(torch.tensor(p), torch.tensor(t), CLASSES, IGNORED) for t, p in pairs
    ]
    areas = [sum(part).double() for part in zip(*areas)]
    found = IoUMetric.total_area_to_metrics(*areas, metrics=["mIoU", "mDice"])
    return {
        "aAcc": numbers(found["aAcc"]),
        "mIoU": numbers(np.nanmean(found["IoU"])),
        "mAcc": numbers(np.nanmean(found["Acc"])),
        "mDice": numbers(np.nanmean(found["Dice"])),
        "IoU": numbers(found["IoU"]),
        "Acc": numbers(found["Acc"]),
        "Dice": numbers(found["Dice"]),
    }


def hugging_face(pairs, function):
    found = function([p for _, p in pairs], [t for t, _ in pairs], num_labels=CLASSES, ignore_index=IGNORED)
    return {
        "aAcc": numbers(found["overall_accuracy"]),
        "mIoU": numbers(found["mean_iou"]),
        "mAcc": numbers(found["mean_accuracy"]),
        "IoU": numbers(found["per_category_iou"]),
        "Acc": numbers(found["per_category_accuracy"]),
    }


def scene_parsing(pairs, functions):
    # The toolkit's labels begin at 1, and 0 is what is ignored.
    shifted = [(np.where(t == IGNORED, 0, t + 1), p + 1) for t, p in pairs]
    areas = [functions["intersectionAndUnion"](p, t, CLASSES) for t, p in shifted]
    intersection, union = (np.stack(part, axis=1) for part in zip(*areas))
    iou = 1.0 * np.sum(intersection, axis=1) / np.sum(np.spacing(1) + union, axis=1)
    _, correct, labelled = zip(*(functions["pixelAccuracy"](p, t) for t, p in shifted))
    return {"mIoU": numbers(np.mean(iou)), "IoU": numbers(iou), "aAcc": numbers(np.sum(correct) / np.sum(labelled))}


def detectron2(pairs, path):
    """Runs the body of `evaluate` on the matrix that `process` would have made."""
    text = open(path).read().replace("np.float)", "np.float64)")
    start = text.index("        acc = np.full(self._num_classes")
    body = text[start : text.index("        if self._compute_boundary_iou:", start)]
    matrix = np.zeros((CLASSES + 1, CLASSES + 1), dtype=np.int64)
    for truth, prediction in pairs:
        truth = np.where(truth == IGNORED, CLASSES, truth)
        flat = (CLASSES + 1) * prediction.reshape(-1) + truth.reshape(-1)
        matrix += np.bincount(flat, minlength=matrix.size).reshape(matrix.shape)
    names = {"np": np, "self": types.SimpleNamespace(_conf_matrix=matrix, _num_classes=CLASSES)}
    exec("if True:\n" + body, names)
    return {
        "aAcc": numbers(names["pacc"]),
        "mIoU": numbers(names["miou"]),
        "mAcc": numbers(names["macc"]),
        "fwIoU": numbers(names["fiou"]),
        "IoU": numbers(names["iou"]),
        "Acc": numbers(names["acc"]),
    }


def torch_metrics(pairs):
    prediction = torch.tensor(np.concatenate([p.reshape(-1) for _, p in pairs]))
    truth = torch.tensor(np.concatenate([t.reshape(-1) for t, _ in pairs]))
    of = lambda metric, average: numbers(
        metric(num_classes=CLASSES, average=average, ignore_index=IGNORED)(prediction, truth)
    )
    return {
        "aAcc": of(MulticlassAccuracy, "micro"),
        "mIoU": of(MulticlassJaccardIndex, "macro"),
        "mAcc": of(MulticlassAccuracy, "macro"),
        "fwIoU": of(MulticlassJaccardIndex, "weighted"),
        "mDice": of(MulticlassF1Score, "macro"),
        "IoU": of(MulticlassJaccardIndex, "none"),
        "Acc": of(MulticlassAccuracy, "none"),
        "Dice": of(MulticlassF1Score, "none"),
    }


hf = functions_of(arguments.hf, until="@evaluate.utils")["mean_iou"]
sceneparsing = functions_of(arguments.sceneparsing)
cases = []
for kind in ("ordinary", "absent", "stray"):
    pairs = maps(kind)
    oracles = {
        "mmseg": mmseg(pairs),
        "hugging_face": hugging_face(pairs, hf),
        "scene_parsing": scene_parsing(pairs, sceneparsing),
        "detectron2": detectron2(pairs, arguments.detectron2),
    }
    if kind != "stray":
        oracles["torchmetrics"] = torch_metrics(pairs)
    images = [
        {"width": t.shape[1], "height": t.shape[0], "truth": t.reshape(-1).tolist(), "prediction": p.reshape(-1).tolist()}
        for t, p in pairs
    ]
    cases.append({"name": kind, "num_classes": CLASSES, "images": images, "oracles": oracles})
json.dump(cases, sys.stdout, separators=(",", ":"))
