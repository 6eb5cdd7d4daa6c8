"""Detectors and segmentors for make.py: OpenMMLab (present and former layouts), torchvision, detectron2 and Hugging Face UperNet.

mmdet and mmseg run unmodified on mmcv-lite: `mmcv._ext` becomes a module with torchvision's NMS and RoIAlign.
"""
import copy, tempfile
from tiny_models import *
import torchvision

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
V1 = "facebookresearch/ConvNeXt @048efce"
SHORT = [1, 1, 1, 1]
DET_HEAD = dict(fpn_channels=6, fc_channels=5, mask_channels=6)


def load_mm():
    class Ext(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *a, **k: (_ for _ in ()).throw(NotImplementedError(name))

    ext = sys.modules["mmcv._ext"] = Ext("mmcv._ext")
    ext.__file__, ext.__spec__ = __file__, importlib.machinery.ModuleSpec("mmcv._ext", None)
    ext.nms = lambda boxes, scores, iou_threshold, offset=0: torchvision.ops.nms(boxes.float(), scores.float(), float(iou_threshold))

    def roi_align_forward(input, rois, output, argmax_y, argmax_x, aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned):
        output.copy_(torchvision.ops.roi_align(input, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, bool(aligned)))

    def roi_align_backward(grad, rois, argmax_y, argmax_x, into, aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned):
        into.copy_(torch.ops.torchvision._roi_align_backward(grad, rois, float(spatial_scale), aligned_height, aligned_width, *into.shape, sampling_ratio, bool(aligned)))

    ext.roi_align_forward, ext.roi_align_backward = roi_align_forward, roi_align_backward
    for name, value in dict(float_=np.float64, int_=np.int64, bool8=np.bool_, float=float, int=int, object=object, str=str).items():
        if name not in np.__dict__:
            setattr(np, name, value)
    stub("mmpretrain.models.multimodal", __all__=[]).__path__ = []      # it subclasses what transformers 5 no longer has
    sys.path.insert(0, str(SOURCES / "mmpretrain"))
    import mmpretrain.models, mmdet.models, mmseg.models  # noqa: F401
    from mmengine.registry import MODELS, init_default_scope
    # the official V1 backbone with norm0..3, registered for both libraries
    text = (SOURCES / "convnext/object_detection/mmdet/models/backbones/convnext.py").read_text()
    text = "\n".join(line for line in text.split("\n") if not line.startswith(("from mmcv_custom", "from mmdet.utils", "from ..builder", "@BACKBONES")))
    module = stub("official_dense")
    exec(compile(text, "official_dense", "exec"), module.__dict__)
    MODELS.register_module(name="OfficialConvNeXt", module=module.ConvNeXt)
    return init_default_scope, module.ConvNeXt


def mm_backbone(version, dims, depths=DEPTHS, **more):
    ls = 0.0 if version == 2 else 1.0
    return dict(type="mmpretrain.ConvNeXt", arch=dict(depths=depths, channels=dims), drop_path_rate=0.0, layer_scale_init_value=ls, use_grn=version == 2,
                **{**dict(out_indices=[0, 1, 2, 3], gap_before_final_norm=False), **more})


def mask_rcnn(backbone, dims, agnostic=False):
    from mmengine.config import Config
    import mmdet
    cfg = Config.fromfile(os.path.join(os.path.dirname(mmdet.__file__), ".mim/configs/_base_/models/mask-rcnn_r50_fpn.py")).model
    f = DET_HEAD["fpn_channels"]
    cfg.backbone, cfg.neck.in_channels, cfg.neck.out_channels = backbone, dims, f
    cfg.rpn_head.update(in_channels=f, feat_channels=f)
    roi = cfg.roi_head
    roi.bbox_roi_extractor.out_channels = roi.mask_roi_extractor.out_channels = f
    roi.bbox_head.update(in_channels=f, fc_out_channels=DET_HEAD["fc_channels"], num_classes=len(CLASSES), reg_class_agnostic=agnostic)
    roi.mask_head.update(in_channels=f, conv_out_channels=DET_HEAD["mask_channels"], num_classes=len(CLASSES))
    return cfg


def upernet(backbone, dims, channels=5, aux=3):
    from mmengine.config import Config
    import mmseg
    cfg = Config.fromfile(os.path.join(os.path.dirname(mmseg.__file__), ".mim/configs/_base_/models/upernet_convnext.py")).model
    bn = dict(type="BN", requires_grad=True)
    cfg.backbone = backbone
    cfg.decode_head.update(in_channels=dims, channels=channels, num_classes=len(CLASSES), norm_cfg=bn)
    cfg.auxiliary_head.update(in_channels=dims[2], channels=aux, num_classes=len(CLASSES), norm_cfg=bn)
    cfg.data_preprocessor.size = (64, 64)
    return cfg


def build(cfg, scope):
    from mmengine.registry import MODELS
    import mmdet.registry, mmseg.registry, mmpretrain.registry
    return {"mmdet": mmdet.registry, "mmseg": mmseg.registry, "mmpretrain": mmpretrain.registry}[scope].MODELS.build(copy.deepcopy(cfg))


def old_meta(cfg, **more):
    """The meta of mmcv 1's runners."""
    from mmengine.config import Config
    return dict(env_info="sys.platform: linux\nPython: 3.8.12\nPyTorch: 1.8.0\nMMCV: 1.3.0", config=Config(dict(model=cfg)).pretty_text, seed=None, exp_name="convnext_tiny.py",
                epoch=36, iter=263880, mmcv_version="1.3.0", time="Fri Jan  7 09:45:23 2022", **more)


def train_with_runner(cfg, x, seed):
    """mmengine's Runner for two epochs of one image, with layer-wise decay and EMA; returns epoch_2.pth's bytes."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmengine.registry import DATASETS
    from mmengine.structures import InstanceData
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    class OneImage(torch.utils.data.Dataset):
        metainfo = dict(classes=tuple(CLASSES), palette=[tuple(p) for p in PALETTE])

        def __len__(self):
            return 1

        def __getitem__(self, i):
            image = (x[0] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).clamp(0, 255).to(torch.uint8)
            mask = np.zeros((1, 64, 64), np.uint8)
            mask[0, 10:40, 12:50] = 1
            sample = DetDataSample(metainfo=dict(img_id=1, img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), pad_shape=(64, 64), batch_input_shape=(64, 64)))
            sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(torch.tensor([[12.0, 10, 50, 40]])), labels=torch.tensor([2]), masks=BitmapMasks(mask, 64, 64))
            sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long))
            return dict(inputs=image, data_samples=sample)

    DATASETS.register_module(module=OneImage, force=True)
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as tmp:
        os.chdir(tmp)                       # mmengine writes the commit of the folder it runs in
        runner = Runner.from_cfg(Config(dict(
            default_scope="mmdet", model=cfg, work_dir=tmp, experiment_name="mask-rcnn_convnext-v2", randomness=dict(seed=seed), log_level="ERROR",
            train_dataloader=dict(batch_size=1, num_workers=0, dataset=dict(type="mmengine.OneImage"), sampler=dict(type="DefaultSampler", shuffle=False)),
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2), custom_hooks=[dict(type="EMAHook", momentum=0.3)],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1), logger=dict(type="LoggerHook", interval=1)),
            optim_wrapper=dict(type="OptimWrapper", constructor="LearningRateDecayOptimizerConstructor", optimizer=dict(type="AdamW", lr=2e-2, betas=(0.9, 0.999), weight_decay=0.05),
                               paramwise_cfg=dict(decay_rate=0.95, decay_type="layer_wise", num_layers=6)),
            param_scheduler=[dict(type="LinearLR", start_factor=0.5, by_epoch=False, begin=0, end=1000), dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1)])))
        randomize(runner.model, seed)
        runner.model.init_weights = lambda *a: None
        runner.train()
        os.chdir(here)
        return (pathlib.Path(tmp) / "epoch_2.pth").read_bytes()


def open_mmlab(c):
    scope, official = load_mm()
    from mmengine.runner import save_checkpoint
    import mmengine, mmdet, mmseg, mmpretrain
    names = dict(mmdet=f"mmdet {mmdet.__version__}", mmseg=f"mmsegmentation {mmseg.__version__}", mmpretrain=f"mmpretrain {mmpretrain.__version__} @ee7f2e8", save=f"mmengine {mmengine.__version__} save_checkpoint")
    now = dict(seed=0, experiment_name="tiny", time="20240101_000000", mmengine_version=mmengine.__version__)

    def maps(m):
        out = m.backbone(c.input)
        return dict(out=list(out), fpn=list(m.neck(out)))

    def logits(m):
        out = m.backbone(c.input)
        return dict(out=list(out), logits=m.decode_head(out), aux=m.auxiliary_head(out))
    seg_said = dict(logits="decode_head.forward: class scores at a quarter of the input size, not upsampled", aux="auxiliary_head.forward: class scores at a sixteenth of the input size")
    meta_of = lambda cfg: {**now, "cfg": mmengine.Config(dict(model=cfg)).pretty_text, "epoch": 12, "iter": 1200}

    # classifiers
    scope("mmpretrain")
    for version, seed, dims, more, file in ((2, 40, [4, 5, 6, 8], {}, "mmpretrain_v2.pth"), (1, 41, [4, 5, 6, 8], dict(linear_pw_conv=False), "mmpretrain_v1_conv.pth")):
        cfg = dict(type="ImageClassifier", backbone=mm_backbone(version, dims, out_indices=-1, gap_before_final_norm=True, **more),
                   head=dict(type="LinearClsHead", num_classes=5, in_channels=dims[3], loss=dict(type="CrossEntropyLoss")))
        m = randomize(build(cfg, "mmpretrain"), seed)
        save_checkpoint(dict(state_dict=m.state_dict(), meta={**meta_of(cfg), "dataset_meta": dict(classes=CLASSES), "mmpretrain_version": mmpretrain.__version__}), str(c.folder / file))
        x, stages = c.input, []
        for down, stage in zip(m.backbone.downsample_layers, m.backbone.stages):
            x = stage(down(x)); stages.append(x)
        c.add(file, f"{names['mmpretrain']}, {names['save']}", f"V{version} ImageClassifier: backbone.*, backbone.norm3 as final norm, head.fc" + ("; pointwise convs 4-D (linear_pw_conv=False)" if more else ""),
              "openmmlab", "classifier", version, dims, dict(stage=stages, logits=m(c.input)), 5)
        if version == 2:
            bare = {k: v for k, v in m.state_dict().items() if not k.startswith(("head.", "backbone.norm3"))}
            save_checkpoint(dict(state_dict=bare, meta={}), str(c.folder / "mmpretrain_v2_fcmae.pth"))
            c.add("mmpretrain_v2_fcmae.pth", f"{names['mmpretrain']}, {names['save']}", "as convnext-v2-*_3rdparty-fcmae_in1k: the backbone without norms and head (the weights of mmpretrain_v2.pth)", "openmmlab", "fcmae", 2, dims, dict(stage=stages))

    # a bare backbone with output norms, whole detectors
    scope("mmdet")
    dims = [4, 6, 7, 8]
    m = randomize(build(mm_backbone(2, dims), "mmpretrain"), 42)
    save_checkpoint(dict(state_dict={f"backbone.{k}": v for k, v in m.state_dict().items()}, meta={}), str(c.folder / "mm_backbone_v2.pth"))
    c.add("mm_backbone_v2.pth", f"{names['mmpretrain']}, {names['save']}", "a backbone with norm0..3 under backbone., no heads", "openmmlab", "backbone", 2, dims, dict(out=list(m(c.input))))

    dims, depths = [4, 4, 5, 6], SHORT
    cfg = mask_rcnn(mm_backbone(2, dims, depths), dims)
    with torch.enable_grad():
        (c.folder / "mmdet3_maskrcnn_v2.pth").write_bytes(train_with_runner(cfg, c.input, 43))
    saved = torch.load(c.folder / "mmdet3_maskrcnn_v2.pth", weights_only=False)
    m = build(cfg, "mmdet").eval()
    m.load_state_dict({k[7:]: v for k, v in saved["ema_state_dict"].items() if k.startswith("module.")}); trained = maps(m)
    m.load_state_dict(saved["state_dict"])
    c.add("mmdet3_maskrcnn_v2.pth", f"{names['mmdet']}, mmengine {mmengine.__version__} Runner with CheckpointHook and EMAHook",
          "training checkpoint of Mask R-CNN: meta (cfg, dataset_meta, ...), state_dict (averaged weights), ema_state_dict (the weights in training, module. prefix, steps), optimizer, param_schedulers, message_hub",
          "openmmlab", "detector", 2, dims, maps(m) | {f"trained.{k}": v for k, v in trained.items()}, 5, DET_HEAD, depths=depths, classes=CLASSES, outputs={"trained.fpn": "FPN level with the weights of ema_state_dict", "trained.out": "backbone output with the weights of ema_state_dict"})
    torch.save(dict(meta=saved["meta"], state_dict=saved["state_dict"]), c.folder / "mmdet3_published_v2.pth", _use_new_zipfile_serialization=False)
    c.add("mmdet3_published_v2.pth", f"{names['mmdet']}, as tools/model_converters/publish_model.py", "what publish_model.py makes of mmdet3_maskrcnn_v2.pth: meta and state_dict in the pickle format before PyTorch 1.6 (no zip), as the files of mmdet's model zoo",
          "openmmlab", "detector", 2, dims, maps(m), 5, DET_HEAD, depths=depths, classes=CLASSES, container="legacy pickle")

    dims = [4, 5, 6, 8]
    cfg = mask_rcnn(mm_backbone(1, dims, SHORT), dims, agnostic=True)
    m = randomize(build(cfg, "mmdet"), 44)
    save_checkpoint(dict(meta={**meta_of(cfg), "dataset_meta": dict(classes=tuple(CLASSES), palette=PALETTE)}, state_dict=m.state_dict()), str(c.folder / "mmdet3_maskrcnn_agnostic_v1.pth"))
    c.add("mmdet3_maskrcnn_agnostic_v1.pth", f"{names['mmdet']}, {names['save']}", "Mask R-CNN, V1 (gamma), reg_class_agnostic=True: fc_reg has 4 rows", "openmmlab", "detector", 1, dims, maps(m), 5, {**DET_HEAD, "reg_class_agnostic": True}, depths=SHORT, classes=CLASSES)

    cfg = mask_rcnn(dict(type="mmengine.OfficialConvNeXt", depths=DEPTHS, dims=dims, layer_scale_init_value=1.0), dims)
    m = randomize(build(cfg, "mmdet"), 45)
    torch.save(dict(meta=old_meta(cfg, CLASSES=tuple(CLASSES), hook_msgs={}), state_dict=m.state_dict(), optimizer={}), c.folder / "mmdet2_maskrcnn_v1.pth")
    c.add("mmdet2_maskrcnn_v1.pth", f"{V1}/object_detection backbone in {names['mmdet']}, torch.save", "former layout (mmdet 2): meta.CLASSES and meta.config, official names and norm0..3 under backbone.", "openmmlab", "detector", 1, dims, maps(m), 5, DET_HEAD, classes=CLASSES)

    # segmentors
    scope("mmseg")
    head = dict(channels=5, aux=3)
    cfg = upernet(mm_backbone(2, dims, SHORT), dims)
    m = randomize(build(cfg, "mmseg"), 46)
    save_checkpoint(dict(meta={**meta_of(cfg), "dataset_meta": dict(classes=tuple(CLASSES), palette=PALETTE)}, state_dict=m.state_dict()), str(c.folder / "mmseg1_upernet_v2.pth"))
    c.add("mmseg1_upernet_v2.pth", f"{names['mmseg']}, {names['save']}", "UperNet with auxiliary head, BN", "openmmlab", "segmentor", 2, dims, logits(m), 5, head, depths=SHORT, classes=CLASSES, outputs=seg_said)
    cfg = upernet(dict(type="mmengine.OfficialConvNeXt", depths=SHORT, dims=dims, layer_scale_init_value=1.0), dims)
    m = randomize(build(cfg, "mmseg"), 47)
    torch.save(dict(meta=old_meta(cfg, CLASSES=tuple(CLASSES), PALETTE=PALETTE), state_dict=m.state_dict()), c.folder / "mmseg0_upernet_v1.pth")
    c.add("mmseg0_upernet_v1.pth", f"{V1}/semantic_segmentation backbone in {names['mmseg']}, torch.save", "former layout (mmseg 0): meta.CLASSES and meta.PALETTE, official names and norm0..3 under backbone.", "openmmlab", "segmentor", 1, dims, logits(m), 5, head, depths=SHORT, classes=CLASSES, outputs=seg_said)
    return official


def hugging_face_upernet(c):
    import transformers as tf
    for version, seed, dims, depths, Config in ((2, 50, [4, 6, 7, 8], DEPTHS, tf.ConvNextV2Config), (1, 51, [4, 5, 6, 8], SHORT, tf.ConvNextConfig)):
        backbone = Config(depths=depths, hidden_sizes=dims, out_features=["stage1", "stage2", "stage3", "stage4"])
        cfg = tf.UperNetConfig(backbone_config=backbone, hidden_size=5, auxiliary_channels=3, auxiliary_in_channels=dims[2], id2label=dict(enumerate(CLASSES)), label2id={k: i for i, k in enumerate(CLASSES)})
        m = randomize(tf.UperNetForSemanticSegmentation(cfg), seed)
        m.save_pretrained(c.folder / f"hf_upernet_v{version}")
        maps = m.backbone(c.input).feature_maps
        c.add(f"hf_upernet_v{version}", f"transformers {tf.__version__} save_pretrained", f"UperNetForSemanticSegmentation, {type(m.backbone).__name__}, auxiliary head", "hugging-face", "segmentor", version, dims,
              dict(out=maps, logits=m.decode_head(maps), aux=m.auxiliary_head(maps), upsampled=m(c.input).logits[..., ::4, ::4]), 5, dict(channels=5, aux=3), depths=depths, classes=CLASSES,
              outputs=dict(logits="decode_head(...): class scores at a quarter of the input size, not upsampled", aux="auxiliary_head(...), not upsampled",
                           upsampled="every fourth row and column of model(...).logits, which are upsampled bilinearly (align_corners False) to the input size"))


def torchvision_detector(c):
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.detection import MaskRCNN, faster_rcnn, mask_rcnn as tvm
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.feature_extraction import create_feature_extractor
    from torchvision.ops import feature_pyramid_network as fpn_module
    f, fc, classes, dims = DET_HEAD["fpn_channels"], DET_HEAD["fc_channels"], len(CLASSES) + 1, [4, 5, 6, 8]

    class Extractor(torch.nn.Module):
        """create_feature_extractor and FPN, as torchvision's tutorial on feature extraction has them."""

        def __init__(self, model):
            super().__init__()
            self.body = create_feature_extractor(model, {f"features.{i}": str(i // 2) for i in (1, 3, 5, 7)})
            self.fpn = fpn_module.FeaturePyramidNetwork(dims, f, fpn_module.LastLevelMaxPool())
            self.out_channels = f

        def forward(self, x):
            return self.fpn(self.body(x))

    for name, seed, what in (("torchvision_maskrcnn_v1", 52, "backbone.body.{i} (BackboneWithFPN over .features)"), ("torchvision_maskrcnn_fx_v1", 53, "backbone.body.features.{i} (create_feature_extractor)")):
        body = ConvNeXt([CNBlockConfig(a, b, n) for a, b, n in zip(dims, dims[1:] + [None], SHORT)])
        backbone = Extractor(body) if "fx" in name else BackboneWithFPN(body.features, {str(i): str(i // 2) for i in (1, 3, 5, 7)}, dims, f)
        m = MaskRCNN(backbone, rpn_head=torchvision.models.detection.rpn.RPNHead(f, 3), box_head=faster_rcnn.TwoMLPHead(f * 49, fc), box_predictor=faster_rcnn.FastRCNNPredictor(fc, classes),
                     mask_head=tvm.MaskRCNNHeads(f, [6] * 4, 1), mask_predictor=tvm.MaskRCNNPredictor(6, 6, classes))
        m = randomize(m, seed)
        torch.save(m.state_dict(), c.folder / f"{name}.pth")
        stages = [m.backbone.body(c.input)[str(i)] for i in range(4)]
        levels = m.backbone(c.input)
        c.add(f"{name}.pth", f"torchvision {torchvision.__version__}, torch.save", f"MaskRCNN over ConvNeXt, flat: {what}; no output norms; background is class 0", "torchvision", "detector", 1, dims,
              dict(stage=stages, fpn=[levels[k] for k in ("0", "1", "2", "3", "pool")]), len(CLASSES), DET_HEAD, depths=SHORT)


def detectron2_detector(c, official):
    stub("detectron2._C")
    sys.path.insert(0, str(SOURCES / "detectron2"))
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import Backbone, FPN, GeneralizedRCNN
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
    from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, MaskRCNNConvUpsampleHead, StandardROIHeads
    dims, (f, fc, mc) = [4, 5, 6, 8], DET_HEAD.values()

    class ConvNeXt(official, Backbone):
        """The official V1 backbone with norm0..3 under detectron2's interface."""

        def forward(self, x):
            return dict(zip(self.output_shape(), self.forward_features(x)))

        def output_shape(self):
            return {f"res{i + 2}": ShapeSpec(channels=d, stride=4 << i) for i, d in enumerate(dims)}

    # the values of configs/common/models/mask_rcnn_fpn.py but for the widths
    levels, scales = ["p2", "p3", "p4", "p5"], [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    m = GeneralizedRCNN(
        backbone=FPN(ConvNeXt(depths=DEPTHS, dims=dims, layer_scale_init_value=1.0), ["res2", "res3", "res4", "res5"], f, top_block=LastLevelMaxPool()),
        proposal_generator=RPN(
            in_features=levels + ["p6"], head=StandardRPNHead(in_channels=f, num_anchors=3), batch_size_per_image=256, positive_fraction=0.5, pre_nms_topk=(2000, 1000), post_nms_topk=(1000, 1000), nms_thresh=0.7,
            anchor_generator=DefaultAnchorGenerator(sizes=[[32], [64], [128], [256], [512]], aspect_ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64], offset=0.0),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True), box2box_transform=Box2BoxTransform([1.0] * 4)),
        roi_heads=StandardROIHeads(
            num_classes=len(CLASSES), batch_size_per_image=512, positive_fraction=0.25, proposal_matcher=Matcher([0.5], [0, 1], allow_low_quality_matches=False),
            box_in_features=levels, box_pooler=ROIPooler(7, scales, 0, "ROIAlignV2"), box_head=FastRCNNConvFCHead(ShapeSpec(channels=f, height=7, width=7), conv_dims=[], fc_dims=[fc, fc]),
            box_predictor=FastRCNNOutputLayers(ShapeSpec(channels=fc), test_score_thresh=0.05, box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=len(CLASSES)),
            mask_in_features=levels, mask_pooler=ROIPooler(14, scales, 0, "ROIAlignV2"), mask_head=MaskRCNNConvUpsampleHead(ShapeSpec(channels=f, width=14, height=14), num_classes=len(CLASSES), conv_dims=[mc] * 5)),
        pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3, input_format="RGB")
    # a seed under which no two anchors score alike (a dead hidden layer makes such), and no two detections
    m = randomize(m, 200)
    m.proposal_generator.rpn_head.anchor_deltas.weight.mul_(0.1)      # boxes that stay near their anchors
    m.roi_heads.box_predictor.bbox_pred.weight.mul_(0.3)
    with tempfile.TemporaryDirectory() as tmp:
        DetectionCheckpointer(m, tmp).save("model_final", iteration=0, __author__="make.py")
        (c.folder / "detectron2_maskrcnn_v1.pth").write_bytes((pathlib.Path(tmp) / "model_final.pth").read_bytes())
    out = list(m.backbone.bottom_up(c.input).values())
    fpn = m.backbone(c.input)
    found = m.inference([dict(image=c.input[0])], do_postprocess=False)[0]
    c.add("detectron2_maskrcnn_v1.pth", "detectron2 0.6 @02b5c4e DetectionCheckpointer", "GeneralizedRCNN: FPN over a V1 bottom_up with official names and norm0..3, RPN, StandardROIHeads with mask head (four convs): {'model', 'iteration', '__author__'}",
          "detectron2", "detector", 1, dims, dict(out=out, fpn=[fpn[k] for k in levels + ["p6"]]) | {
              "det.boxes": found.pred_boxes.tensor, "det.scores": found.scores, "det.labels": found.pred_classes, "det.mask_probs28": found.pred_masks[:2, 0]}, 5, DET_HEAD,
          outputs={"det.boxes": "inference on input.npy as it is (pixel_mean 0, pixel_std 1, no resize): x1,y1,x2,y2", "det.scores": "of det.boxes", "det.labels": "of det.boxes, from 0", "det.mask_probs28": "sigmoid of the mask logits of the first two detections"})


def make(c):
    with torch.no_grad():
        official = open_mmlab(c)
        hugging_face_upernet(c)
        torchvision_detector(c)
        detectron2_detector(c, official)
