//! A module's float parameters by path: their shapes, their values, and how to put values back.
//!
//! A path is the field names from the root, joined by dots: `backbone.stages.0.1.dwconv.weight`. Optimizer state and
//! checkpoints are keyed by it, because Burn's parameter ids differ from run to run.

use anyhow::Result;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, GradientCheckpointingStrategy, Tensor, TensorData};
use cvx_heads::is_running_statistic;

/// One float parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamInfo {
    /// Field names from the root, joined by dots.
    pub path: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
}

impl ParamInfo {
    /// Number of values.
    pub fn num_values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All float parameters of a module, in the order of its fields. Lazy parameters stay uninitialised.
pub fn list<M: Module>(module: &M) -> Vec<ParamInfo> {
    let mut visitor = Lister::default();
    module.visit(&mut visitor);
    visitor.found
}

/// The float parameters of [`list`] that an optimizer may change: not the running statistics of batch norms, which are
/// saved and loaded as parameters are.
pub fn trained<M: Module>(module: &M) -> Vec<ParamInfo> {
    let mut params = list(module);
    params.retain(|param| !is_running_statistic(&param.path));
    params
}

/// How many values an optimizer may change.
pub fn count_trained<M: Module>(module: &M) -> usize {
    trained(module).iter().map(ParamInfo::num_values).sum()
}

/// Calls `read` with the path and the value of each float parameter, in the order of [`list`], one at a time.
///
/// # Errors
/// The first error of `read`; later parameters are not visited.
pub fn read_each<M: Module>(module: &M, read: &mut dyn FnMut(&str, TensorData) -> Result<()>) -> Result<()> {
    let mut visitor = Reader { path: Path::default(), read, outcome: Ok(()) };
    module.visit(&mut visitor);
    visitor.outcome
}

/// The value to put in a parameter's place, by its path and shape; nothing where it stays.
pub type Replacing<'a> = dyn FnMut(&str, &[usize]) -> Result<Option<TensorData>> + 'a;

/// Replaces each float parameter by what `value` returns for its path and shape; one it returns nothing for stays.
///
/// Everything else of a parameter stays: its device, whether it receives gradients, its checkpointing. One that was
/// not initialised yet never is: its first values are these.
///
/// # Errors
/// The first error of `value`. The module is then lost, so validate before.
///
/// # Panics
/// If a value has another shape than its parameter.
pub fn replace_each<M: Module>(module: M, value: &mut Replacing<'_>) -> Result<M> {
    let mut mapper = Replacer { path: Path::default(), value, outcome: Ok(()) };
    let module = module.map(&mut mapper);
    mapper.outcome.map(|()| module)
}

/// Has the parameters whose path is `frozen` receive no gradient.
pub fn freeze<M: Module>(module: M, frozen: &dyn Fn(&str) -> bool) -> M {
    module.map(&mut Freezer { path: Path::default(), frozen })
}

/// What a parameter is besides its values.
pub(crate) struct Context {
    /// The device without autodiff.
    pub(crate) device: Device,
    checkpointing: Option<GradientCheckpointingStrategy>,
    requires_grad: bool,
}

impl Context {
    pub(crate) fn of<const D: usize>(param: &Tensor<D>) -> Self {
        Self {
            device: param.device().inner(),
            checkpointing: param.gradient_checkpointing_strategy(),
            requires_grad: param.is_require_grad(),
        }
    }

    /// Makes a plain tensor a parameter like the one this was taken from.
    pub(crate) fn restore<const D: usize>(&self, plain: Tensor<D>) -> Tensor<D> {
        match self.checkpointing {
            None => plain,
            Some(strategy) => Tensor::from_inner(plain)
                .with_gradient_checkpointing_strategy(strategy)
                .set_require_grad(self.requires_grad),
        }
    }
}

/// The names of the modules that a walk is inside of.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn joined(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Lister {
    path: Path,
    found: Vec<ParamInfo>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        self.found.push(ParamInfo { path: self.path.joined(), shape });
    }
}

struct Reader<'a> {
    path: Path,
    read: &'a mut dyn FnMut(&str, TensorData) -> Result<()>,
    outcome: Result<()>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.outcome.is_ok() {
            self.outcome = (self.read)(&self.path.joined(), param.base().inner().into_data());
        }
    }
}

struct Replacer<'a> {
    path: Path,
    value: &'a mut Replacing<'a>,
    outcome: Result<()>,
}

impl ModuleMapper for Replacer<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.outcome.is_err() {
            return param;
        }
        let shape = param.lazy_shape().to_vec();
        let data = match (self.value)(&self.path.joined(), &shape) {
            Ok(Some(data)) => data,
            Ok(None) => return param,
            Err(error) => {
                self.outcome = Err(error);
                return param;
            }
        };
        assert_eq!(data.shape().to_vec(), shape, "{}", self.path.joined());
        if !param.is_initialized() {
            let (id, device) = (param.id, param.lazy_device());
            return param.transform_for_load(Tensor::from_data(data, &device), id);
        }
        let (id, old, mapper) = param.consume();
        let context = Context::of(&old);
        let plain = Tensor::from_data(data, &context.device);
        Param::from_mapped_value(id, context.restore(plain), mapper)
    }
}

struct Freezer<'a> {
    path: Path,
    frozen: &'a dyn Fn(&str) -> bool,
}

impl ModuleMapper for Freezer<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if (self.frozen)(&self.path.joined()) { param.set_require_grad(false) } else { param }
    }
}
