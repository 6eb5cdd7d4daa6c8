//! The box head: what is in a region, and where exactly.
//!
//! Semantics of mmdet 3.3, `Shared2FCBBoxHead`: background is the last class.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, relu, softmax};

use crate::conv::{Linear, XAVIER, normal};
use crate::host::{connected_zero, floats, indices, read_floats};

/// Whether every class moves a region's box in its own way.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum BoxRegression {
    /// Four deltas a class.
    ClassSpecific,
    /// Four deltas for all classes together.
    ClassAgnostic,
}

/// Configuration of a [`BoxHead`].
#[derive(Config, Debug)]
pub struct BoxHeadConfig {
    /// Classes without the background.
    pub num_classes: usize,
    /// Channels of the pyramid.
    pub channels: usize,
    /// Width of the hidden layers.
    #[config(default = 1024)]
    pub fc_channels: usize,
    /// How many hidden layers.
    #[config(default = 2)]
    pub num_fcs: usize,
    /// Side of the resampled regions.
    #[config(default = 7)]
    pub roi_side: usize,
    /// Deltas a class or for all classes.
    #[config(default = "BoxRegression::ClassSpecific")]
    pub regression: BoxRegression,
}

/// Hidden layers that class scores and deltas share.
#[derive(Module, Debug)]
pub struct BoxHead {
    shared_fcs: Vec<Linear>,
    fc_cls: Linear,
    fc_reg: Linear,
    /// Side of the resampled regions that it looks at.
    pub(crate) roi_side: usize,
}

/// What the head says about regions.
#[derive(Clone, Debug)]
pub struct BoxPredictions {
    /// Logits, background last: `[regions, classes + 1]`.
    pub logits: Tensor<2>,
    /// Deltas from the regions: `[regions, 4 * classes]`, or `[regions, 4]` when all classes share
    /// them.
    pub deltas: Tensor<2>,
}

/// What the head should say about a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoxTarget {
    /// There is no object.
    Background,
    /// There is one.
    Object {
        /// Its class.
        label: usize,
        /// Deltas that lead from the region to its box.
        deltas: [f32; 4],
    },
}

/// What the head says about one region, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionPrediction {
    /// Probabilities of the classes, then of the background.
    pub probabilities: Vec<f32>,
    /// Deltas, one entry a class or one for all.
    pub deltas: Vec<[f32; 4]>,
}

/// The two terms of the box head's loss.
#[derive(Clone, Debug)]
pub struct BoxLosses {
    /// Cross-entropy, mean over the regions.
    pub cls: Tensor<1>,
    /// L1 distance of the positive regions' deltas, divided by the number of all regions.
    pub bbox: Tensor<1>,
}

impl BoxHeadConfig {
    /// A head with random weights.
    pub fn init(&self, device: &Device) -> BoxHead {
        let mut inputs = self.channels * self.roi_side * self.roi_side;
        let mut shared_fcs = Vec::with_capacity(self.num_fcs);
        for _ in 0..self.num_fcs {
            shared_fcs.push(Linear::new([inputs, self.fc_channels], XAVIER, device));
            inputs = self.fc_channels;
        }
        let deltas = match self.regression {
            BoxRegression::ClassSpecific => 4 * self.num_classes,
            BoxRegression::ClassAgnostic => 4,
        };
        BoxHead {
            shared_fcs,
            fc_cls: Linear::new([inputs, self.num_classes + 1], normal(0.01), device),
            fc_reg: Linear::new([inputs, deltas], normal(0.001), device),
            roi_side: self.roi_side,
        }
    }
}

impl BoxHead {
    /// Looks at each region on its own.
    ///
    /// # Shapes
    /// - `regions`: `[regions, channels, side, side]`
    /// - output: see [`BoxPredictions`]
    pub fn forward(&self, regions: Tensor<4>) -> BoxPredictions {
        let mut hidden = regions.flatten::<2>(1, 3);
        for fc in &self.shared_fcs {
            hidden = relu(fc.forward(hidden));
        }
        BoxPredictions { logits: self.fc_cls.forward(hidden.clone()), deltas: self.fc_reg.forward(hidden) }
    }
}

impl BoxPredictions {
    /// The losses against `targets`, one a region.
    ///
    /// # Shapes
    /// - output: `[1]` each
    pub fn losses(&self, targets: &[BoxTarget]) -> BoxLosses {
        let Self { logits, deltas } = self.clone();
        let [regions, num_scores] = logits.dims();
        let [_, num_deltas] = deltas.dims();
        assert_eq!(targets.len(), regions, "one target a region");
        let (num_classes, device) = (num_scores - 1, logits.device());
        let mut labels: Vec<i32> = Vec::with_capacity(regions);
        let mut delta_columns: Vec<i32> = Vec::new();
        let mut delta_targets: Vec<f32> = Vec::new();
        for (row, target) in targets.iter().enumerate() {
            match *target {
                BoxTarget::Background => labels.push(num_classes as i32),
                BoxTarget::Object { label, deltas } => {
                    assert!(label < num_classes, "label {label} of {num_classes} classes");
                    labels.push(label as i32);
                    let own = if num_deltas == 4 { 0 } else { label };
                    delta_columns.push((row * (num_deltas / 4) + own) as i32);
                    delta_targets.extend(deltas);
                }
            }
        }
        let labels = indices(labels, &device).reshape([regions, 1]);
        let cls = log_softmax(logits, 1).gather(1, labels).mean().neg();
        let bbox = if delta_columns.is_empty() {
            connected_zero(deltas)
        } else {
            let positive = delta_columns.len();
            let own =
                deltas.reshape([regions * num_deltas / 4, 4]).select(0, indices(delta_columns, &device));
            let targets = floats(delta_targets, &device).reshape([positive, 4]);
            (own - targets).abs().sum() / regions as f32
        };
        BoxLosses { cls, bbox }
    }

    /// Losses of zero that are connected to every parameter, for a step without regions.
    pub(crate) fn zero_losses(self) -> BoxLosses {
        BoxLosses { cls: connected_zero(self.logits), bbox: connected_zero(self.deltas) }
    }

    /// Copies the predictions to the host, one entry a region, in one read.
    pub fn read(self) -> Vec<RegionPrediction> {
        let [_, num_scores] = self.logits.dims();
        let [_, num_deltas] = self.deltas.dims();
        let joined = Tensor::cat(vec![softmax(self.logits, 1), self.deltas], 1).detach();
        read_floats(joined)
            .chunks_exact(num_scores + num_deltas)
            .map(|row| {
                let (probabilities, deltas) = row.split_at(num_scores);
                RegionPrediction {
                    probabilities: probabilities.to_vec(),
                    deltas: deltas.as_chunks::<4>().0.to_vec(),
                }
            })
            .collect()
    }
}
