//! The segmentors of the golden folders: weights, names, inputs.

use std::collections::BTreeMap;

use burn::prelude::*;
use cvx_backbone::{BlockNorm, ConvNextConfig};
use cvx_heads::{FcnHeadConfig, UperNetConfig};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors;
use cvx_tools::recipe::Version;
use cvx_tools::seg::inference::Window;
use cvx_tools::seg::model::Segmentor;
use cvx_tools::train::params;
use cvx_tools::weights::{self, Published, Strictness};
use serde_json::Value;

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

pub(crate) fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// A golden's segmentor with its weights, and its parameters' names there.
pub(crate) struct Reference {
    pub(crate) segmentor: Segmentor,
    published: Published,
}

impl Reference {
    /// From one of the golden's files; `change` may alter the configuration of the heads.
    pub(crate) fn new(
        golden: &Golden,
        file: &str,
        device: &Device,
        change: impl Fn(UperNetConfig) -> UperNetConfig,
    ) -> Self {
        let head = &golden.json("meta.json")["head"];
        let published = Published::open(&golden.file(file), None).unwrap_or_else(|e| panic!("{e:?}"));
        let norm = match published.version {
            Version::V1 => BlockNorm::LayerScale { init: 1.0 },
            Version::V2 => BlockNorm::Grn,
        };
        let backbone = ConvNextConfig::new(published.depths, published.dims, norm);
        let heads = UperNetConfig::new(number(&head["num_classes"]))
            .with_channels(number(&head["channels"]))
            .with_auxiliary(Some(FcnHeadConfig::new().with_channels(number(&head["aux"]))))
            .with_dropout(head.get("dropout").map_or(0.0, float));
        let segmentor = Segmentor {
            backbone: backbone.init(device),
            heads: change(heads).init(&backbone.feature_specs(), device),
        };
        let loaded = weights::load(&published, segmentor, Strictness::Complete);
        let (segmentor, _) = loaded.unwrap_or_else(|e| panic!("{e:?}"));
        Self { segmentor, published }
    }

    /// Every float value of a segmentor by mmseg's name, in its order.
    pub(crate) fn by_their_name(&self, segmentor: &Segmentor) -> BTreeMap<String, Vec<f32>> {
        let mut found = BTreeMap::new();
        params::read_each(segmentor, &mut |ours, data| {
            let shape = data.shape().to_vec();
            let array = Array { shape, values: data.try_into_vec::<f32>().expect("f32") };
            found.insert(name(&self.published, ours), crate::as_theirs(self.published.layout(ours), array));
            Ok(())
        })
        .expect("nothing fails");
        found
    }

    /// Gradients by mmseg's names, in its order.
    pub(crate) fn gradients(&self, segmentor: &Segmentor, loss: Tensor<1>) -> BTreeMap<String, Vec<f32>> {
        let by_path = tensors::gradients_by_path(segmentor, loss.backward());
        let renamed = |(ours, array): (String, Array<f32>)| {
            (name(&self.published, &ours), crate::as_theirs(self.published.layout(&ours), array))
        };
        by_path.into_iter().map(renamed).collect()
    }
}

/// mmseg's name of our parameter.
fn name(published: &Published, ours: &str) -> String {
    published.name(ours).unwrap_or_else(|| panic!("{ours} has no name of mmseg's"))
}

/// The windows of a golden's tests.
pub(crate) fn window(golden: &Golden) -> Window {
    let head = &golden.json("meta.json")["head"];
    let [size, stride] = [&head["crop"], &head["stride"]].map(number);
    Window::Sliding { size: [size; 2], stride: [stride; 2] }
}

/// An input of a golden.
pub(crate) fn input(golden: &Golden, name: &str, device: &Device) -> Tensor<4> {
    tensors::tensor(golden.npy(&format!("input_{name}.npy")), device)
}

/// Labels as they are handed to the losses.
pub(crate) fn labels(array: Array<f32>, device: &Device) -> Tensor<3, Int> {
    let values = array.values.into_iter().map(|label| label as i32).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, array.shape), device)
}
