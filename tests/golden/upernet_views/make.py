"""What mmseg 1.2.2 makes of one image in several views, and in padded ones: SegTTAModel and SegDataPreProcessor, unmodified.

    CVX_SOURCES=<folder with convnext and mmpretrain> python make.py

Takes the segmentor and the image of ../upernet_small. Of every case the file has the classes, and of those of several
views the mean of the probabilities. Classes were compared with the same in float64: `classes_changed` counts those that
differ.
"""
import json, pathlib, sys

folder = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(folder.parent / "formats"))
from make_dense import load_mm
import numpy as np, torch
from safetensors.torch import save_file

init_default_scope, _ = load_mm()
init_default_scope("mmseg")
import mmcv, mmengine, mmseg.datasets  # noqa: F401
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS
import cv2

small = folder.parent / "upernet_small"
torch.set_num_threads(1)
SCALE = [320, 80]
RATIOS = [0.75, 1.0, 1.3]
CASES = {
    "slide_views": dict(mode="slide", ratios=RATIOS, flip=True, size_divisor=1),
    "whole_views": dict(mode="whole", ratios=RATIOS, flip=True, size_divisor=32),
    "whole_padded": dict(mode="whole", ratios=[1.0], flip=False, size_divisor=32),
    "slide_padded": dict(mode="slide", ratios=[1.0], flip=False, size_divisor=64),
    "mirrored_alone": dict(mode="slide", ratios=[1.0], flip=True, size_divisor=1),
}


def model(case, double):
    cfg = Config.fromfile(str(small / "config.py")).model
    cfg.data_preprocessor.pop("size")
    cfg.data_preprocessor.test_cfg = dict(size_divisor=case["size_divisor"])
    cfg.test_cfg.mode = case["mode"]
    built = MODELS.build(cfg)
    weights = torch.load(small / "mmseg.pth", weights_only=False)
    built.load_state_dict(weights.get("state_dict", weights), strict=True)
    tta = MODELS.build(dict(type="SegTTAModel", module=built)).eval()
    return tta.double() if double else tta


def views(case):
    pipeline = TRANSFORMS.build(dict(type="TestTimeAug", transforms=[
        [dict(type="Resize", scale=tuple(int(side * ratio) for side in SCALE), keep_ratio=True) for ratio in case["ratios"]],
        [dict(type="RandomFlip", prob=float(flip), direction="horizontal") for flip in range(1 + case["flip"])],
        [dict(type="PackSegInputs")]]))
    load = TRANSFORMS.build(dict(type="LoadImageFromFile"))
    packed = pipeline(load(dict(img_path=str(small / "e2e.png"), reduce_zero_label=False)))
    return {key: [[value] for value in values] for key, values in packed.items()}


def run(case, double):
    tta, data = model(case, double), views(case)
    to_float = torch.Tensor.float
    if double:
        torch.Tensor.float = torch.Tensor.double                          # the data preprocessor calls it
    try:
        with torch.no_grad():
            merged = tta.test_step(data)[0]
            single = [tta.module.test_step(dict(inputs=images, data_samples=samples))[0].seg_logits.data.softmax(0)
                      for images, samples in zip(views(case)["inputs"], views(case)["data_samples"])]
    finally:
        torch.Tensor.float = to_float
    return merged.pred_sem_seg.data.squeeze(0), sum(single) / len(single)


expected, changed = {}, {}
for name, case in CASES.items():
    classes, mean = run(case, double=False)
    assert torch.equal(classes, mean.argmax(0)) or len(case["ratios"]) * (1 + case["flip"]) == 1
    again, _ = run(case, double=True)
    expected[f"{name}.classes"] = classes.to(torch.uint8).contiguous()
    changed[name] = int((classes != again).sum())
    if name == "slide_views":
        expected[f"{name}.probabilities"] = mean.contiguous()
save_file(expected, folder / "expected.safetensors")
json.dump(dict(
    kind="upernet_views", version=1, script="make.py", segmentor="upernet_small", scale=SCALE, cases=CASES, classes_changed=changed,
    versions=dict(torch=torch.__version__, numpy=np.__version__, opencv=cv2.__version__, mmcv=mmcv.__version__, mmengine=mmengine.__version__, mmseg=mmseg.__version__),
    shapes={name: list(value.shape) for name, value in expected.items()}), open(folder / "meta.json", "w"), indent=1)
print(changed, {name: list(value.shape) for name, value in expected.items()})
