//! The recipe's training: `[train]`, `[optimizer]` and `[schedule]`.

use serde::{Deserialize, Serialize};

use super::TransformRecipe;

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Times every image is seen.
    pub epochs: usize,
    /// Images whose gradients make one update.
    pub batch_size: usize,
    /// Parts a batch is split into, one after the other, to save memory.
    pub accumulation_steps: usize,
    /// The optimizer's rate is for a batch of so many images, and is scaled in proportion to `batch_size`; absent: it is
    /// for `batch_size`, and not scaled.
    pub lr_batch_size: Option<usize>,
    /// Upper bound of the gradient's global L2 norm; absent: not clipped.
    pub max_grad_norm: Option<f64>,
    /// An average of the weights that is judged and kept in their place; absent: none.
    pub ema: Option<Ema>,
    /// Parts that stay as they begin, as their parameters' paths begin: `backbone.stages.0`; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// When to end before all epochs are done; absent: never.
    pub early_stop: Option<EarlyStop>,
    /// Stages of the backbone (0 to 3) that hold no inner values of their blocks until the backward pass, but compute them
    /// once more: less memory for more time, on a CPU. Absent: none. No effect on results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recompute_stages: Vec<usize>,
    /// Whether a batch holds only landscape or only portrait images, which pads less.
    pub group_by_aspect: bool,
    /// What happens to an image on its way in, in this order.
    pub transforms: Vec<TransformRecipe>,
    /// Threads that read and transform images; 0: the training thread does. No effect on results.
    pub workers: usize,
    /// `checkpoints/last` is written every so many steps, and after every epoch. No effect on results.
    pub checkpoint_every_steps: usize,
    /// So many of the newest checkpoints are kept, `last` among them: a damaged one is replaced by the one before.
    /// Absent: 2. No effect on results.
    #[serde(default = "usual_checkpoints")]
    pub keep_checkpoints: usize,
}

/// The checkpoints that are kept where a recipe does not say: one, and one in reserve.
pub(crate) fn usual_checkpoints() -> usize {
    2
}

/// An exponential moving average of the weights over the updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// Share of the average that an update leaves: 0.9999 in ConvNeXt's classifiers.
    pub decay: f64,
    /// Whether the share is `(1 + n) / (10 + n)` after `n` updates for as long as that is less, so that the first weights
    /// are soon forgotten.
    pub warmup: bool,
}

/// When a run ends before all epochs are done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// After so many evaluations in a row without a better one.
    pub patience: usize,
    /// A better one is more than this above the best before.
    pub min_delta: f64,
}

/// The optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw(Adamw),
}

/// Adam with decoupled weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adamw {
    /// Learning rate after the warm-up, before layer decay.
    pub lr: f64,
    /// Memory of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a weight, times the learning rate, that every step takes away.
    pub weight_decay: f64,
    /// Which parameters keep it.
    pub weight_decay_spares: WeightDecaySpares,
    /// How much slower early layers learn.
    pub layer_decay: LayerDecay,
}

/// Which parameters weight decay leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WeightDecaySpares {
    /// Biases and whatever has one axis (norms, layer scale): mmdet and mmseg.
    OneAxisOrBias,
    /// These, and GRN's `gamma` and `beta` whatever their axes: ConvNeXt V2.
    OneAxisBiasGammaBeta,
    /// As the first, but GRN's `gamma` and `beta` and the mask token decay: ConvNeXt V2's pretraining.
    OneAxisOrBiasButGrn,
}

/// How much slower early layers learn than the heads, which learn at the full rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LayerDecay {
    /// Not at all.
    None,
    /// A layer is one block (ConvNeXt V2, Atto to Tiny).
    Single {
        /// Factor from a layer to the one below.
        rate: f64,
    },
    /// Twelve layers, each up to three blocks of the third stage (ConvNeXt V2, Base and up).
    Group {
        /// Factor from a layer to the one below.
        rate: f64,
    },
    /// mmdet's `layer_wise`: as `group`, with the number of layers given.
    LayerWise {
        /// Factor from a layer to the one below.
        rate: f64,
        /// 6 for Atto to Tiny, 12 for the larger ones.
        num_layers: usize,
    },
    /// mmdet's `stage_wise`: a layer is a stage.
    StageWise {
        /// Factor from a layer to the one below.
        rate: f64,
        /// Sets the gap between the last stage and the heads.
        num_layers: usize,
    },
}

/// The learning rate over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps over which the rate rises linearly.
    pub warmup_steps: usize,
    /// Share of the rate at step 0.
    pub warmup_start_factor: f64,
    /// How the rate falls.
    pub decay: Decay,
}

/// How the learning rate falls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Multiplied by `gamma` each time that so many epochs are done.
    Step {
        /// Epochs, rising.
        milestone_epochs: Vec<usize>,
        /// Factor.
        gamma: f64,
    },
    /// Half a cosine from the end of the warm-up to the end of the training.
    Cosine {
        /// The rate at the end.
        min_lr: f64,
    },
    /// `(1 - progress)^power` from the end of the warm-up to the end of the training.
    Polynomial {
        /// Exponent; one is a straight line.
        power: f64,
        /// The rate at the end.
        min_lr: f64,
    },
}
