//! Recipes that cannot work: the message names the entry, the value found and the values possible.

use cvx_tools::exit::Exit;

use crate::Project;

#[track_caller]
fn refused(set: &str, expected: &[&str]) {
    let project = Project::new();
    let outcome = project.on_folders("train", &[&format!("--set={set}")]);
    assert_eq!(outcome.exit, Exit::BadInput, "{}", outcome.out);
    for words in expected {
        assert!(outcome.err.contains(words), "`{words}` is not in: {}", outcome.err);
    }
    assert!(!project.path("run").exists(), "nothing is written before the recipe is known to be sound");
}

#[test]
fn values_out_of_range_are_told_with_what_is_possible() {
    refused("head.upernet.dropout=1.0", &["head.upernet.dropout = 1", "below 1"]);
    refused("head.upernet.loss.cross_entropy=-1.0", &["head.upernet.loss.cross_entropy = -1", "negative"]);
    refused("head.upernet.num_classes=300", &["head.upernet.num_classes = 300", "at most 255"]);
    refused("head.upernet.pool_scales=[]", &["head.upernet.pool_scales = []"]);
    refused("train.transforms.0.category-crop.height=0", &["category-crop.height = 0", "at least 1"]);
    refused(
        "evaluate.window.sliding.stride=[64, 32]",
        &["evaluate.window.sliding.stride.0 = 64", "at most 48"],
    );
}

#[test]
fn entries_that_must_agree_are_told_together() {
    refused(
        "head.upernet.loss.class_weights=[1.0]",
        &["head.upernet.loss.class_weights: has 1 entries", "num_classes = 2"],
    );
    refused("head.upernet.num_classes=3", &["class_weights: has 2 entries"]);
    refused(
        "data.folders.classes={ named = [\"a\", \"b\", \"c\"] }",
        &["[TMP]/train/labels: the data have 3 classes (a, b, c), but head.upernet.num_classes = 2"],
    );
    refused(
        "data.folders.classes={ named = [\"a\", \"a\"] }",
        &["data.folders.classes.named.1", "named twice"],
    );
}

#[test]
fn batches_of_one_image_are_refused() {
    refused("train.batch_size=1", &["train.batch_size = 1", "at least 2 images"]);
    refused("data.folders.first_images=1", &["one image to train on", "two and above"]);
}

#[test]
fn names_that_do_not_exist_are_answered_with_those_that_do() {
    refused("evaluate.best_by=mIoU", &["evaluate.best_by: unknown metric `mIoU`", "`miou`"]);
    refused("evaluate.convention=coco", &["`coco`", "`mmseg`", "`detectron2`"]);
    refused("data.folders.classes=ade", &["`ade`", "`ade20k`", "`cityscapes`"]);
    refused("head={ mask-rcnn = {} }", &["`mask-rcnn`", "`upernet`"]);
    refused("model.init={ detector = \"x.pth\" }", &["model.init.detector", "`segmentor`"]);
}
