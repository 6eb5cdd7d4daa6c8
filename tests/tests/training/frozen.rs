//! Parts that are frozen: no gradient, no update, no decay.

use burn::tensor::Device;
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::params;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::Trainer;

use crate::toy::{config, generator, parts, toy, train, values};

#[test]
fn a_frozen_part_stays_to_the_last_bit_and_the_rest_learns() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let model = toy(&Device::flex().autodiff(), 5);
    let before = values(&model);
    let mut start = Start::Fresh;
    // Resumed, it is frozen still.
    for stop in [8, usize::MAX] {
        let parts = parts(folder.path(), start, config(1), &model, &["first"]).expect("parts");
        let trainer = Trainer::new(model.clone(), parts).expect("a run");
        if let Some(after) = train(trainer, |position| position.step == stop).expect("trains") {
            for (old, new) in before.iter().zip(values(&after)) {
                assert_eq!(*old == new, old.0.starts_with("first."), "{}", old.0);
            }
            return;
        }
        start = Start::Resume;
    }
    panic!("the run does not end");
}

#[test]
fn a_frozen_part_has_no_gradient() {
    let _turn = generator();
    let model = params::freeze(toy(&Device::flex().autodiff(), 5), &|path| path == "second.weight");
    let loss = model.losses(0, 0).into_iter().map(|(_, loss)| loss).reduce(|sum, loss| sum + loss);
    let gradients = ParamGradients::collect(&model, loss.expect("losses").backward());
    assert_eq!(gradients.len(), params::list(&model).len() - 1);
}

#[test]
fn groups_show_what_is_frozen() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let model = toy(&Device::flex(), 5);
    let parts =
        parts(folder.path(), Start::Fresh, config(1), &model, &["first", "second.bias"]).expect("parts");
    let groups = parts.optimizer.groups();
    let table = groups.table(1e-3);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["frozen", "0.00000", "0.000e0", "0", "3", "36"],
        ["decay", "1.00000", "1.000e-3", "0.05", "1", "5"],
    ];
    assert_eq!(rows, expected);
    let error = groups.clone().freezing(&params::list(&model), &["secon".to_owned()]).expect_err("unknown");
    assert!(error.to_string().contains("the nearest is \"second\""), "{error}");
}
