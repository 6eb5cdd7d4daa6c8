//! Which learning rate and which weight decay each parameter gets: layer decay, and what weight decay spares.
//!
//! Four published formulas of layer decay, with their quirks, because recipes state their rates in them:
//! - ConvNeXt V2, `optim_factory.py`: [`LayerDecay::Single`] and [`LayerDecay::Group`];
//! - mmdet and mmseg, `layer_decay_optimizer_constructor.py`: [`LayerDecay::LayerWise`] and [`LayerDecay::StageWise`].

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::train::params::ParamInfo;

mod frozen;

/// The prefix under which a model holds its backbone; everything outside it trains at the full rate.
const BACKBONE: &str = "backbone.";
/// The group of parameters that are not trained.
const FROZEN: &str = "frozen";
/// The last layer of the grouped formula, ConvNeXt V2 `optim_factory.py`.
const GROUP_LAYERS: usize = 12;

/// How the learning rate falls from the heads down to the stem: by `rate` a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerDecay {
    /// One rate for everything.
    None,
    /// A layer is one block (V2 Atto to Tiny).
    Single {
        /// Factor from a layer to the one below.
        rate: f64,
    },
    /// Twelve layers; a layer is up to three blocks of the third stage, or a whole other stage (V2 Base and up).
    Group {
        /// Factor from a layer to the one below.
        rate: f64,
    },
    /// As [`LayerDecay::Group`], with the fourth stage at `num_layers`; `norm0..norm3` are not decayed.
    LayerWise {
        /// Factor from a layer to the one below.
        rate: f64,
        /// 6 for Atto to Tiny, 12 for the larger ones.
        num_layers: usize,
    },
    /// A layer is a stage, and all four downsampling layers are layer 0. Four stages leave a gap of
    /// `rate^(num_layers - 3)` below the heads: the whole backbone trains slowly.
    StageWise {
        /// Factor from a layer to the one below.
        rate: f64,
        /// Sets the gap below the heads.
        num_layers: usize,
    },
}

/// Which parameters weight decay spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecayExempt {
    /// One axis, or a name that ends in `.bias`: mmdet and mmseg.
    OneAxisOrBias,
    /// These, and names that end in `.gamma` or `.beta` whatever their axes: ConvNeXt V2.
    OneAxisBiasGammaBeta,
    /// As [`DecayExempt::OneAxisOrBias`], but GRN's parameters and the mask token decay: ConvNeXt V2's pretraining, where
    /// these have four axes.
    OneAxisOrBiasButGrn,
}

/// Weight decay, and what it spares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightDecay {
    /// The decay of the parameters that are not spared.
    pub value: f64,
    /// The others.
    pub exempt: DecayExempt,
}

/// How one parameter is updated.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamRule {
    /// The name of its group: layer and whether it decays.
    pub group: String,
    /// Factor on the scheduled learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// One line of the table of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Name.
    pub group: String,
    /// Factor on the scheduled learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of tensors in it.
    pub num_tensors: usize,
    /// Number of values in these.
    pub num_values: usize,
}

/// The rules of all parameters of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroups {
    rules: BTreeMap<String, ParamRule>,
    rows: Vec<GroupRow>,
}

impl ParamGroups {
    /// Sorts a model's parameters into groups.
    ///
    /// # Errors
    /// On a rate outside `(0, 1]`, on a weight decay that is negative, on a model without stages, and where
    /// `num_layers` is too small for the depth (layers near the heads would train faster than the heads).
    pub fn new(params: &[ParamInfo], layer_decay: LayerDecay, weight_decay: WeightDecay) -> Result<Self> {
        let value = weight_decay.value;
        ensure!(value >= 0.0 && value.is_finite(), "weight decay is {value}; possible: 0 and above");
        let layers = Layers::new(params, layer_decay)?;
        let mut rules = BTreeMap::new();
        let mut rows: BTreeMap<(usize, bool), GroupRow> = BTreeMap::new();
        for param in params {
            let spared = weight_decay.exempt.spares(param);
            let layer = layers.layer(&param.path);
            let suffix = if spared { "no_decay" } else { "decay" };
            let rule = ParamRule {
                group: match layer_decay {
                    LayerDecay::None => suffix.to_owned(),
                    _ => format!("layer_{layer}_{suffix}"),
                },
                lr_scale: layers.scale(layer),
                weight_decay: if spared { 0.0 } else { value },
            };
            let row = rows.entry((layer, spared)).or_insert_with(|| GroupRow {
                group: rule.group.clone(),
                lr_scale: rule.lr_scale,
                weight_decay: rule.weight_decay,
                num_tensors: 0,
                num_values: 0,
            });
            row.num_tensors += 1;
            row.num_values += param.num_values();
            rules.insert(param.path.clone(), rule);
        }
        Ok(Self { rules, rows: rows.into_values().collect() })
    }

    /// Takes the parameters whose paths begin with one of `parts` (`backbone.stages.0`) out of their groups: they stay as
    /// they are.
    ///
    /// # Errors
    /// If no path begins so.
    pub fn freezing(mut self, params: &[ParamInfo], parts: &[String]) -> Result<Self> {
        for (index, part) in parts.iter().enumerate() {
            frozen::expect_part(index, part, params)?;
        }
        let mut row = GroupRow::none(FROZEN);
        for param in params.iter().filter(|param| parts.iter().any(|part| frozen::is_in(&param.path, part))) {
            let rule = ParamRule { group: FROZEN.to_owned(), lr_scale: 0.0, weight_decay: 0.0 };
            let Some(before) = self.rules.insert(param.path.clone(), rule) else { continue };
            for old in self.rows.iter_mut().filter(|row| row.group == before.group) {
                old.num_tensors -= 1;
                old.num_values -= param.num_values();
            }
            row.num_tensors += 1;
            row.num_values += param.num_values();
        }
        if row.num_tensors > 0 {
            self.rows.retain(|row| row.num_tensors > 0);
            self.rows.insert(0, row);
        }
        ensure!(
            self.rows.iter().any(|row| row.group != FROZEN),
            "train.freeze = {parts:?}: nothing is left to train"
        );
        Ok(self)
    }

    /// Whether a parameter stays as it is.
    pub fn is_frozen(&self, path: &str) -> bool {
        self.rules.get(path).is_some_and(|rule| rule.group == FROZEN)
    }

    /// The table of groups, with learning rates scaled from `lr`.
    pub fn table(&self, lr: f64) -> String {
        let width = self.rows.iter().map(|row| row.group.len()).max().unwrap_or(0).max(5);
        let mut text =
            format!("{:width$}  lr scale         lr  weight decay  tensors  parameters\n", "group");
        for GroupRow { group, lr_scale, weight_decay, num_tensors, num_values } in &self.rows {
            let lr = lr * lr_scale;
            text += &format!(
                "{group:width$}  {lr_scale:8.5}  {lr:9.3e}  {weight_decay:12}  {num_tensors:7}  {num_values:10}\n"
            );
        }
        text
    }

    /// The rule of a parameter, if the model has one with this path.
    pub fn rule(&self, path: &str) -> Option<&ParamRule> {
        self.rules.get(path)
    }

    /// The groups, from the stem to the heads.
    pub fn rows(&self) -> &[GroupRow] {
        &self.rows
    }
}

impl GroupRow {
    /// Without learning rate, without parameters.
    fn none(group: &str) -> Self {
        Self { group: group.to_owned(), lr_scale: 0.0, weight_decay: 0.0, num_tensors: 0, num_values: 0 }
    }
}

impl DecayExempt {
    fn spares(self, param: &ParamInfo) -> bool {
        let ends = |suffix| param.path.ends_with(suffix);
        let plain = param.shape.len() == 1 || ends(".bias");
        match self {
            Self::OneAxisOrBias => plain,
            Self::OneAxisBiasGammaBeta => plain || ends(".gamma") || ends(".beta"),
            Self::OneAxisOrBiasButGrn => plain && !param.path.contains(".grn.") && param.path != "mask_token",
        }
    }
}

/// Where a path lies in the backbone.
enum Place {
    Downsample(usize),
    Block { stage: usize, block: usize },
    Rest,
}

fn place(path: &str) -> Place {
    let path = path.strip_prefix(BACKBONE).unwrap_or(path);
    let mut names = path.split('.');
    let first = names.next();
    let mut index = || names.next().and_then(|name| name.parse().ok());
    match first {
        Some("downsample_layers") => index().map_or(Place::Rest, Place::Downsample),
        Some("stages") => match (index(), index()) {
            (Some(stage), Some(block)) => Place::Block { stage, block },
            _ => Place::Rest,
        },
        _ => Place::Rest,
    }
}

/// The numbering of layers; the heads are layer `last`.
struct Layers {
    decay: LayerDecay,
    rate: f64,
    depths: Vec<usize>,
    last: usize,
}

impl Layers {
    fn new(params: &[ParamInfo], decay: LayerDecay) -> Result<Self> {
        let mut depths: Vec<usize> = Vec::new();
        for param in params {
            if let Place::Block { stage, block } = place(&param.path) {
                depths.resize(depths.len().max(stage + 1), 0);
                depths[stage] = depths[stage].max(block + 1);
            }
        }
        let (rate, last) = match decay {
            LayerDecay::None => (1.0, 0),
            LayerDecay::Single { rate } => (rate, depths.iter().sum::<usize>() + 1),
            LayerDecay::Group { rate } => (rate, GROUP_LAYERS + 1),
            LayerDecay::LayerWise { rate, num_layers } | LayerDecay::StageWise { rate, num_layers } => {
                (rate, num_layers + 1)
            }
        };
        ensure!(rate > 0.0 && rate <= 1.0, "the rate of layer decay is {rate}; possible: above 0, up to 1");
        let layers = Self { decay, rate, depths, last };
        if decay != LayerDecay::None {
            ensure!(
                !layers.depths.is_empty(),
                "layer decay needs a backbone, but no parameter is called `{BACKBONE}stages...`"
            );
            let in_backbone = params.iter().filter(|param| !matches!(place(&param.path), Place::Rest));
            let deepest = in_backbone.map(|param| layers.layer(&param.path)).max().unwrap_or(0);
            ensure!(
                deepest < last,
                "layer decay counts {} layers below the heads, but this backbone has {deepest}, and the upper ones \
                 would train faster than the heads; possible: num_layers {deepest} and above",
                last - 1
            );
        }
        Ok(layers)
    }

    fn scale(&self, layer: usize) -> f64 {
        self.rate.powi((self.last - layer) as i32)
    }

    fn layer(&self, path: &str) -> usize {
        let before = |stage: usize| self.depths.iter().take(stage).sum::<usize>();
        match (self.decay, place(path)) {
            (LayerDecay::None, _) => 0,
            (_, Place::Rest) => self.last,
            (LayerDecay::Single { .. }, Place::Downsample(index)) => before(index) + 1,
            (LayerDecay::Single { .. }, Place::Block { stage, block }) => before(stage) + block + 1,
            (LayerDecay::StageWise { .. }, Place::Downsample(_)) => 0,
            (LayerDecay::StageWise { .. }, Place::Block { stage, .. }) => stage + 1,
            (LayerDecay::Group { .. } | LayerDecay::LayerWise { .. }, Place::Downsample(index)) => {
                match index {
                    0 => 0,
                    1 | 2 => index + 1,
                    _ => self.last - 1,
                }
            }
            (LayerDecay::Group { .. } | LayerDecay::LayerWise { .. }, Place::Block { stage, block }) => {
                match stage {
                    0 | 1 => stage + 1,
                    2 => 3 + block / 3,
                    _ => self.last - 1,
                }
            }
        }
    }
}
