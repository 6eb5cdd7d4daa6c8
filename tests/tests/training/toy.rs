//! A small network that draws random numbers in every step, and a run of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::checkpoint::{Description, Position};
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::interrupt::Interrupt;
use cvx_tools::train::params;
use cvx_tools::train::progress::Progress;
use cvx_tools::train::run_folder::{RunFolder, Start};
use cvx_tools::train::schedule::{Decay, Schedule, Warmup};
use cvx_tools::train::step_log::{self, StepRecord};
use cvx_tools::train::told::Told;
use cvx_tools::train::trainer::{Every, Trainer, TrainerConfig, TrainerParts};

/// Weight decay as mmdet applies it.
pub(crate) const MMDET_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisOrBias };

/// A network that draws random numbers in every step.
#[derive(Module, Debug)]
pub(crate) struct Toy {
    first: Linear,
    dropout: Dropout,
    second: Linear,
}

const INPUTS: usize = 6;
pub(crate) const BATCHES: usize = 7;
pub(crate) const EPOCHS: usize = 3;

/// Flex has one generator for the whole process, so tests that draw from it take turns.
pub(crate) fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn toy(device: &Device, hidden: usize) -> Toy {
    device.seed(5);
    let toy = Toy {
        first: LinearConfig::new(INPUTS, hidden).init(device),
        dropout: DropoutConfig::new(0.3).init(),
        second: LinearConfig::new(hidden, 1).init(device),
    };
    // Initialised now, while the seed is known.
    params::read_each(&toy, &mut |_, _| Ok(())).expect("nothing fails");
    toy
}

impl Toy {
    pub(crate) fn losses(&self, batch: u64, sampling_seed: u64) -> Vec<(&'static str, Tensor<1>)> {
        let device = &self.second.weight.device();
        let values = (0..4 * INPUTS).map(|index| ((index as f32 + 1.7 * batch as f32) * 0.37).sin());
        let inputs = Tensor::<2>::from_data(TensorData::new(values.collect(), [4, INPUTS]), device);
        let hidden = self.dropout.forward(self.first.forward(inputs.clone()).tanh());
        let noise = (sampling_seed % 1000) as f32 / 1000.0;
        let error = self.second.forward(hidden) - inputs.sum_dim(1) - noise;
        // Noise on the device, as drop path draws it.
        let weights = Tensor::<2>::random([4, 1], Distribution::Uniform(0.5, 1.5), device);
        vec![("square", (error.clone().square() * weights).mean()), ("absolute", error.abs().mean())]
    }
}

pub(crate) fn config(accumulation: usize) -> TrainerConfig {
    TrainerConfig {
        seed: 11,
        epochs: EPOCHS,
        accumulation,
        clip_norm: Some(2.0),
        ema: None,
        evaluate: Every::Epochs(1),
        checkpoint: Every::Steps(2),
        keep_checkpoints: 2,
        best_metric: "box/ap".to_owned(),
        patience: None,
    }
}

pub(crate) fn description() -> Description {
    Description {
        architecture: serde_json::json!({ "toy": INPUTS }),
        classes: vec!["disc".to_owned(), "square".to_owned()],
        preprocessing: serde_json::json!({ "mean": [123.675] }),
        recipe: "seed = 11\n".to_owned(),
    }
}

pub(crate) fn told(recipe: &str, start: Start) -> Told<'_> {
    Told { recipe, without_effect: &["workers"], start }
}

pub(crate) fn trainer(folder: &Path, start: Start, accumulation: usize) -> anyhow::Result<Trainer<Toy>> {
    trainer_of(folder, start, config(accumulation))
}

pub(crate) fn trainer_of(folder: &Path, start: Start, config: TrainerConfig) -> anyhow::Result<Trainer<Toy>> {
    let device = Device::flex().autodiff();
    let model = toy(&device, 5);
    Trainer::new(model.clone(), parts(folder, start, config, &model, &[])?)
}

/// What a run of any model is made of besides it; `frozen` parts stay as they are.
pub(crate) fn parts<M: Module>(
    folder: &Path,
    start: Start,
    config: TrainerConfig,
    model: &M,
    frozen: &[&str],
) -> anyhow::Result<TrainerParts> {
    let params = params::list(model);
    let frozen: Vec<String> = frozen.iter().map(|&part| part.to_owned()).collect();
    let groups = ParamGroups::new(&params, LayerDecay::None, MMDET_DECAY)?.freezing(&params, &frozen)?;
    Ok(TrainerParts {
        optimizer: AdamW::new(AdamWConfig::TORCH, groups),
        schedule: Schedule {
            base_lr: 0.02,
            warmup: Warmup { steps: 4, start_factor: 0.1 },
            decay: Decay::Cosine { begin: 4, end: 30, min_lr: 0.0 },
        },
        run: RunFolder::open(folder, &told("seed = 11\n", start))?,
        description: description(),
        config,
        progress: Progress::lines(30, Box::new(std::io::sink())),
    })
}

/// Trains until `stop` says so after an update, then drops everything, as a process that ends does.
pub(crate) fn train(trainer: Trainer<Toy>, stop: impl Fn(&Position) -> bool) -> anyhow::Result<Option<Toy>> {
    train_with(trainer, stop, |position| position.epoch as f64 / 10.0)
}

/// As [`train`], with the figure that an evaluation comes to.
pub(crate) fn train_with(
    mut trainer: Trainer<Toy>,
    stop: impl Fn(&Position) -> bool,
    ap: impl Fn(&Position) -> f64,
) -> anyhow::Result<Option<Toy>> {
    let evaluate_if_due = |trainer: &mut Trainer<Toy>| -> anyhow::Result<()> {
        if trainer.evaluation_due() {
            let ap = ap(trainer.position());
            trainer.record_evaluation(&BTreeMap::from([("box/ap".to_owned(), ap)]))?;
            trainer.save_or_warn();
        }
        Ok(())
    };
    'run: loop {
        evaluate_if_due(&mut trainer)?;
        if trainer.is_finished() {
            break;
        }
        for batch in trainer.position().batches_in_epoch..BATCHES {
            let sampling_seed = trainer.begin_step();
            let number = (trainer.position().epoch * BATCHES + batch) as u64;
            let losses = trainer.model().losses(number, sampling_seed);
            trainer.step(losses, 4)?;
            evaluate_if_due(&mut trainer)?;
            if trainer.is_finished() {
                break 'run;
            }
            if trainer.checkpoint_due() {
                trainer.save_or_warn();
            }
            if stop(trainer.position()) {
                return Ok(None);
            }
        }
        trainer.finish_epoch()?;
        trainer.save_or_warn();
        // Also a run that ends in an evaluation.
        if stop(trainer.position()) {
            return Ok(None);
        }
    }
    Ok(Some(trainer.finish(&Interrupt::after(None))?))
}

pub(crate) fn values<M: Module>(model: &M) -> Vec<(String, Vec<u32>)> {
    let mut found = Vec::new();
    params::read_each(model, &mut |path, data| {
        let values = data.as_slice::<f32>().expect("f32").iter().map(|value| value.to_bits());
        found.push((path.to_owned(), values.collect()));
        Ok(())
    })
    .expect("nothing fails");
    found
}

/// What of a log does not depend on the clock or on the process.
pub(crate) fn timeless(folder: &Path) -> Vec<StepRecord> {
    let mut records = step_log::read(&folder.join("log.jsonl")).expect("a log");
    for record in &mut records {
        (record.seconds, record.data_s, record.images_per_s) = (0.0, 0.0, 0.0);
        record.peak_mb = None;
    }
    records
}
