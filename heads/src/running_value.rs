//! A value that training changes besides the optimizer: a running mean of batch statistics.
//!
//! To Burn it is a float parameter that never receives a gradient, so it is saved, loaded and moved with the
//! weights and left alone by the optimizer. Not Burn's `RunningState`: that one shows an update to a visitor one
//! step late, and clones of a module share it, so that mapping a copy (for an average of weights, say) would
//! change the original.

use std::sync::{Mutex, PoisonError};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
    ParamId,
};
use burn::prelude::*;

/// A vector that is updated through a shared reference.
#[derive(Debug)]
pub(crate) struct RunningValue {
    id: ParamId,
    /// Always on a device without autodiff.
    value: Mutex<Tensor<1>>,
}

impl RunningValue {
    pub(crate) fn new(value: Tensor<1>) -> Self {
        Self::with_id(ParamId::new(), value)
    }

    fn with_id(id: ParamId, value: Tensor<1>) -> Self {
        Self { id, value: Mutex::new(value.without_autodiff()) }
    }

    /// The value now, without autodiff.
    pub(crate) fn get(&self) -> Tensor<1> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the value by `momentum` towards a new observation. What is not finite is not observed: such a step is
    /// taken back by whoever trains, and this would be what stays of it.
    pub(crate) fn observe(&self, observed: Tensor<1>, momentum: f64) {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = value.clone() * (1.0 - momentum) + observed.without_autodiff() * momentum;
        *value = value.clone().mask_where(moved.clone().is_finite(), moved);
    }

    fn into_inner(self) -> (ParamId, Tensor<1>) {
        (self.id, self.value.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clone for RunningValue {
    fn clone(&self) -> Self {
        Self::with_id(self.id, self.get())
    }
}

impl Module for RunningValue {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&Param::initialized(self.id, self.get()));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let (id, value) = self.into_inner();
        let (_, value, _) = mapper.map_float(Param::initialized(id, value)).consume();
        Self::with_id(id, value)
    }

    fn to_device(self, device: &Device) -> Self {
        let (id, value) = self.into_inner();
        Self::with_id(id, value.to_device(&device.clone().without_autodiff()))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        // It lies beside its layer's weights, which count with their autodiff device.
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        self
    }
}

impl ModuleDisplayDefault for RunningValue {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"RunningValue".to_owned()).optional()
    }
}

impl ModuleDisplay for RunningValue {}
