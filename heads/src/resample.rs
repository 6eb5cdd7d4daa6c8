//! Maps resampled along rows and columns: bilinear resize and adaptive average pooling, with exact gradients.
//!
//! Semantics of PyTorch's `interpolate(mode="bilinear", align_corners=False)` and `AdaptiveAvgPool2d`. On Flex
//! both are one op that only touches the weights that are not zero; on every other device they are two matrix
//! products, because Burn 0.22.1 has no gradient of a bilinear resize there.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use cvx_backbone::ops::cpu::dispatch::vectorised;
use rayon::prelude::*;

use crate::axis_map::AxisMap;

/// Stretches or shrinks maps to `size`, height first, by bilinear interpolation without anti-aliasing.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, size[0], size[1]]`
pub fn resize_bilinear(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == size {
        return x;
    }
    resample(x, AxisMap::linear(height, size[0]), AxisMap::linear(width, size[1]))
}

/// Averages maps over `bins` by `bins` areas that cover them.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, bins, bins]`
pub fn adaptive_avg_pool(x: Tensor<4>, bins: usize) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    resample(x, AxisMap::bin_means(height, bins), AxisMap::bin_means(width, bins))
}

/// `rows . x . columns^T`, whose gradient is the same with both turned over.
pub(crate) fn resample(x: Tensor<4>, rows: AxisMap, columns: AxisMap) -> Tensor<4> {
    let device = x.device().without_autodiff();
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return resample_composed(x, &rows, &columns);
    }
    Tensor::from_dispatch(<Dispatch as ResampleOps>::resample_op(x.into_dispatch(), rows, columns))
}

/// `rows . x . columns^T`, on any device.
fn resample_composed(x: Tensor<4>, rows: &AxisMap, columns: &AxisMap) -> Tensor<4> {
    let matrix = |map: &AxisMap| {
        let data = TensorData::new(map.dense(), [1, 1, map.outputs(), map.inputs()]);
        Tensor::<4>::from_data(data, &x.device())
    };
    let (rows, columns) = (matrix(rows), matrix(columns));
    rows.matmul(x.matmul(columns.swap_dims(2, 3)))
}

/// Resampling as an op.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ResampleOps: Backend {
    /// Resamples.
    fn resample_op(x: FloatTensor<Self>, rows: AxisMap, columns: AxisMap) -> FloatTensor<Self>;
}

impl ResampleOps for Flex {
    fn resample_op(x: FlexTensor, rows: AxisMap, columns: AxisMap) -> FlexTensor {
        let [batch, channels, height, width] = x.layout().shape().dims::<4>();
        assert_eq!([height, width], [rows.inputs(), columns.inputs()], "height and width");
        let (height, width) = (rows.outputs(), columns.outputs());
        let x = x.to_contiguous();
        let planes = x.as_slice::<f32>().expect("resampling works on contiguous f32");
        let mut out = vec![0.0; batch * channels * height * width];
        resample_planes(planes, &rows, &columns, &mut out);
        let layout = Layout::contiguous([batch, channels, height, width].into());
        FlexTensor::new(Bytes::from_elems(out), layout, DType::F32)
    }
}

/// Planes of `rows.inputs()` by `columns.inputs()` into planes of outputs.
fn resample_planes(planes: &[f32], rows: &AxisMap, columns: &AxisMap, out: &mut [f32]) {
    let planes = planes.par_chunks_exact(rows.inputs() * columns.inputs());
    let outs = out.par_chunks_exact_mut(rows.outputs() * columns.outputs());
    outs.zip(planes).for_each_init(
        || vec![0.0; columns.inputs()],
        |between, (out, plane)| resample_plane(plane, rows, columns, between, out),
    );
}

vectorised! {
    /// One of them; `between` is room for one line.
    fn resample_plane(plane: &[f32], rows: &AxisMap, columns: &AxisMap, between: &mut [f32], out: &mut [f32]) {
        let width = columns.inputs();
        for (row, out) in out.chunks_exact_mut(columns.outputs()).enumerate() {
            let (first_row, weights) = rows.taps(row);
            between.fill(0.0);
            for (&weight, line) in weights.iter().zip(plane[first_row * width..].chunks_exact(width)) {
                for (sum, &value) in between.iter_mut().zip(line) {
                    *sum += weight * value;
                }
            }
            columns.apply(between, out);
        }
    }
}

impl<B: ResampleOps, C: CheckpointStrategy> ResampleOps for Autodiff<B, C> {
    fn resample_op(x: FloatTensor<Self>, rows: AxisMap, columns: AxisMap) -> FloatTensor<Self> {
        let parent = x.node();
        let output = B::resample_op(x.into_primitive(), rows.clone(), columns.clone());
        let prepared = Backward::<B, 1>::prepare::<C>(Resample, [parent]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((rows, columns), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// The op's place in the graph; its backward pass is itself with both maps transposed.
#[derive(Debug)]
struct Resample;

impl<B: ResampleOps> Backward<B, 1> for Resample {
    type State = (AxisMap, AxisMap);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (rows, columns) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::resample_op(grad, rows.transposed(), columns.transposed())
        });
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn the_op_is_two_matrix_products() {
        let device = Device::flex().autodiff();
        let normal = Distribution::Normal(0.0, 1.0);
        let x = Tensor::<4>::random([2, 3, 5, 7], normal, &device).require_grad();
        let slopes = Tensor::<4>::random([2, 3, 9, 3], normal, &device);
        let (rows, columns) = (AxisMap::linear(5, 9), AxisMap::bin_means(7, 3));
        let outputs = [resample_composed(x.clone(), &rows, &columns), resample(x.clone(), rows, columns)];
        let [expected, actual] = outputs.map(|y| {
            let gradients = (y.clone() * slopes.clone()).sum().backward();
            let mut values: Vec<f32> = y.into_data().iter::<f32>().collect();
            values.extend(x.grad(&gradients).expect("a gradient").into_data().iter::<f32>());
            values
        });
        for (actual, expected) in actual.iter().zip(&expected) {
            assert!((actual - expected).abs() < 1e-5, "{actual} {expected}");
        }
    }
}
