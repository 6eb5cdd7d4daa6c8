//! The average of the weights: by hand, resumed, judged, and kept as the best.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use cvx_tests::tolerance::{ONE_OPERATION, assert_close};
use cvx_tools::train::checkpoint::Checkpoint;
use cvx_tools::train::ema::{Ema, EmaConfig};
use cvx_tools::train::params;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::TrainerConfig;

use crate::toy::{Toy, config, generator, timeless, toy, train, trainer_of, values};

const WARM: EmaConfig = EmaConfig { decay: 0.25, warmup: true };

fn averaging() -> TrainerConfig {
    TrainerConfig { ema: Some(EmaConfig { decay: 0.9, warmup: true }), ..config(1) }
}

/// A weight, and the running mean of a batch norm.
#[derive(Module, Debug)]
struct Normed {
    weight: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
}

fn normed(weight: [f32; 2], mean: f32) -> Normed {
    let device = Device::flex().autodiff();
    Normed { weight: Param::from_data(weight, &device), running_mean: Param::from_data([mean], &device) }
}

fn averages(ema: &Ema) -> (Vec<f32>, Vec<f32>) {
    let Normed { weight, running_mean } = ema.averaged(normed([0.0; 2], 0.0));
    let read = |param: Param<Tensor<1>>| param.val().into_data().try_into_vec::<f32>().expect("f32");
    (read(weight), read(running_mean))
}

#[test]
fn averages_move_as_computed_by_hand() {
    let mut ema = Ema::new(WARM, &normed([1.0, -2.0], 5.0));
    assert_eq!(averages(&ema), (vec![1.0, -2.0], vec![5.0]));
    // Decays of 1/10 and 2/11, and 1/4 in the long run.
    let updates = [
        ([2.0, -2.0], 6.0, [1.9, -2.0]),
        ([3.0, -1.0], 7.0, [2.8, -13.0 / 11.0]),
        ([-1.0, 0.0], 8.0, [-0.05, -13.0 / 44.0]),
    ];
    for (update, (weight, mean, expected)) in updates.into_iter().enumerate() {
        let number = if update == 2 { 1000 } else { update };
        ema.follow(&normed(weight, mean), number);
        let (found, running) = averages(&ema);
        assert_close("weights", &found, &expected, ONE_OPERATION);
        // A running mean is an average already.
        assert_eq!(running, [mean]);
    }
}

#[test]
fn weights_that_stay_are_their_own_average_to_the_last_bit() {
    let model = normed([0.1, 0.3], 0.7);
    let mut ema = Ema::new(EmaConfig { decay: 0.9999, warmup: false }, &model);
    (0..1000).for_each(|update| ema.follow(&model, update));
    assert_eq!(averages(&ema).0, [0.1, 0.3]);
}

#[test]
fn a_resumed_run_has_the_same_average_to_the_last_bit() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(trainer_of(&whole, Start::Fresh, averaging()).expect("a run"), |_| false).expect("trains");
    let mut start = Start::Fresh;
    for stop in [3, 7, 8, 15] {
        let part = trainer_of(&parts, start, averaging()).expect("a run");
        assert!(train(part, |position| position.step >= stop).expect("trains").is_none());
        start = Start::Resume;
    }
    train(trainer_of(&parts, start, averaging()).expect("resumes"), |_| false).expect("trains");
    assert_eq!(timeless(&parts), timeless(&whole));
    for name in ["checkpoints/last.safetensors", "checkpoints/best.safetensors"] {
        let read = |run: &std::path::Path| std::fs::read(run.join(name)).expect(name);
        assert!(read(&parts) == read(&whole), "{name}");
    }
}

#[test]
fn the_average_is_judged_and_kept_as_the_best_and_training_does_not_notice() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let [plain, averaged] = ["plain", "averaged"].map(|name| folder.path().join(name));
    let load = |path: std::path::PathBuf| -> Toy {
        Checkpoint::open(&path).expect("a file").load_model(toy(&Device::flex(), 5)).expect("whole")
    };
    let raw = train(trainer_of(&plain, Start::Fresh, config(1)).expect("a run"), |_| false).expect("trains");
    let raw = values(&raw.expect("finishes"));
    train(trainer_of(&averaged, Start::Fresh, averaging()).expect("a run"), |_| false).expect("trains");
    let [last, best] = ["last", "best"].map(|name| averaged.join(format!("checkpoints/{name}.safetensors")));
    // The last epoch is the best.
    let best = values(&load(best));
    assert_eq!(values(&load(last)), raw);
    assert_ne!(best, raw);
    let resumed = trainer_of(&averaged, Start::Resume, averaging()).expect("resumes");
    assert_eq!(values(&resumed.judged()), best);
    assert_eq!(params::list(&resumed.judged()), params::list(resumed.model()));
}

#[test]
fn a_run_cannot_go_on_with_an_average_from_a_checkpoint_that_has_none() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    train(trainer_of(folder.path(), Start::Fresh, config(1)).expect("a run"), |position| position.step == 2)
        .expect("trains");
    let error = trainer_of(folder.path(), Start::Resume, averaging()).expect_err("no average").to_string();
    assert!(error.contains("`ema.first.weight` has shape None"), "{error}");
}
