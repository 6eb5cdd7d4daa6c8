//! What the tests of the heads share: sizes, masks, paths.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use cvx_heads::{ImageSize, TargetMask};

/// The paths of all of a module's parameters.
pub(crate) fn paths<M: Module>(module: &M) -> Vec<String> {
    let mut paths = Paths::default();
    module.visit(&mut paths);
    paths.found
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.found.push(self.path.join("."));
    }
}

/// A size whose own padding fills the batch.
pub(crate) fn padded_size(height: usize, width: usize, divisor: usize) -> ImageSize {
    let pad = |side: usize| side.next_multiple_of(divisor);
    ImageSize { height, width, padded_height: pad(height), padded_width: pad(width) }
}

/// A mask that fills a rectangle of whole pixels.
pub(crate) fn rectangle([x0, y0, x1, y1]: [usize; 4], size: &ImageSize) -> TargetMask {
    let (width, height) = (x1 - x0, y1 - y0);
    TargetMask {
        frame_width: size.width,
        frame_height: size.height,
        x0,
        y0,
        width,
        height,
        pixels: vec![1; width * height],
    }
}
