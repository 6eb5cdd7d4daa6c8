//! RoIAlign on the CPU: sixteen channels at a time, in the order of one (level, image, channel block).
//!
//! Features are stored plane by plane, where one RoI's pixels of all channels lie far apart. A task
//! therefore copies sixteen planes into a slab `[height, width][16]` (only the rows that some RoI reads),
//! which stays in cache, and serves all RoIs of that level and image from it; a pixel is one vector
//! register with AVX-512. Backward mirrors it: the slab collects the gradient of its sixteen planes, RoI
//! after RoI. Tasks share no memory, so the result has the same bits for any number of threads.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use cvx_backbone::ops::cpu::buffer::zeroed;
use cvx_backbone::ops::cpu::dispatch::vectorised;
use rayon::prelude::*;

use crate::roi_align::RoiAlignOps;
use crate::roi_align_plan::{Region, RoiAlignPlan};

/// Channels of a block.
const LANES: usize = 16;

/// One pixel of a slab: a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Pixel([f32; LANES]);

const BLACK: Pixel = Pixel([0.0; LANES]);

impl Pixel {
    #[inline(always)]
    fn add(&mut self, weight: f32, other: Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += weight * value;
        }
    }
}

impl RoiAlignOps for Flex {
    fn roi_align_op(
        finest: FlexTensor,
        second: FlexTensor,
        third: FlexTensor,
        coarsest: FlexTensor,
        plan: Arc<RoiAlignPlan>,
    ) -> FlexTensor {
        let [_, channels, _, _] = plan.shapes[0];
        let (side, cells) = (plan.side, plan.cells());
        let levels = [finest, second, third, coarsest].map(Planes::new);
        let mut out = zeroed(plan.regions.len() * channels * cells);
        forward(&levels, &plan, channels, &mut out);
        tensor(out, [plan.regions.len(), channels, side, side])
    }

    fn roi_align_backward(grad: FlexTensor, plan: Arc<RoiAlignPlan>) -> Vec<FlexTensor> {
        let grad = grad.to_contiguous();
        let grad = grad.as_slice::<f32>().expect("RoIAlign works in f32");
        let mut levels: Vec<_> = plan.shapes.iter().map(|shape| zeroed(shape.iter().product())).collect();
        backward(grad, &plan, &mut levels);
        levels.into_iter().zip(&plan.shapes).map(|(level, &shape)| tensor(level, shape)).collect()
    }
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

/// A level's features wherever they lie: `[batch, channels, height, width]` by strides.
struct Planes {
    tensor: FlexTensor,
    offset: usize,
    strides: [usize; 4],
}

impl Planes {
    fn new(tensor: FlexTensor) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "RoIAlign works in f32");
        // A permuted map is read as it is; only a flipped one is copied.
        let forward = tensor.layout().strides().iter().all(|&stride| stride >= 0);
        let tensor = if forward { tensor } else { tensor.to_contiguous() };
        let strides = std::array::from_fn(|axis| tensor.layout().strides()[axis] as usize);
        Self { offset: tensor.layout().start_offset(), strides, tensor }
    }

    /// Copies sixteen channels (or what is left of them) of some rows of an image into a slab.
    #[inline(always)]
    fn copy_rows(&self, task: &Task<'_>, touched: &[bool], slab: &mut [Pixel]) {
        let features = self.tensor.storage::<f32>();
        let [image_stride, channel_stride, row_stride, column_stride] = self.strides;
        let first = self.offset + task.image * image_stride + task.block * LANES * channel_stride;
        let width = task.width;
        let lines = slab.chunks_exact_mut(width).zip(touched).enumerate();
        for (row, (line, _)) in lines.filter(|(_, (_, on))| **on) {
            for lane in 0..task.lanes {
                let at = first + lane * channel_stride + row * row_stride;
                if column_stride == 1 {
                    for (pixel, &value) in line.iter_mut().zip(&features[at..][..width]) {
                        pixel.0[lane] = value;
                    }
                } else {
                    for (column, pixel) in line.iter_mut().enumerate() {
                        pixel.0[lane] = features[at + column * column_stride];
                    }
                }
            }
        }
    }
}

/// The RoIs of one level and image, and one block of channels.
struct Task<'a> {
    level: usize,
    image: usize,
    block: usize,
    /// Channels of the block that exist.
    lanes: usize,
    height: usize,
    width: usize,
    regions: &'a [&'a Region],
}

impl<'a> Task<'a> {
    fn new(plan: &RoiAlignPlan, map: usize, block: usize, regions: &'a [&'a Region]) -> Self {
        let [batch, ..] = plan.shapes[0];
        let (level, image) = (map / batch, map % batch);
        let [_, channels, height, width] = plan.shapes[level];
        let lanes = LANES.min(channels - block * LANES);
        Self { level, image, block, lanes, height, width, regions }
    }

    /// Which rows of the map some RoI reads.
    fn touched_rows(&self, plan: &RoiAlignPlan) -> Vec<bool> {
        let mut touched = vec![false; self.height];
        for tap in self.regions.iter().flat_map(|region| plan.rows(region)) {
            touched[tap.pixel as usize] = true;
        }
        touched
    }

    #[inline(always)]
    fn clear_rows(&self, touched: &[bool], slab: &mut [Pixel]) {
        for (line, _) in slab.chunks_exact_mut(self.width).zip(touched).filter(|(_, on)| **on) {
            line.fill(BLACK);
        }
    }

    /// Writes the slab's rows to its planes; the others keep what they hold.
    #[inline(always)]
    fn write_rows(&self, touched: &[bool], slab: &[Pixel], planes: &mut [f32]) {
        let plane = self.height * self.width;
        let lines = slab.chunks_exact(self.width).zip(touched).enumerate();
        for (row, (line, _)) in lines.filter(|(_, (_, on))| **on) {
            for (lane, plane) in planes.chunks_exact_mut(plane).enumerate() {
                let values = &mut plane[row * self.width..][..self.width];
                for (value, pixel) in values.iter_mut().zip(line) {
                    *value = pixel.0[lane];
                }
            }
        }
    }
}

/// A thread's working memory, reused from task to task.
#[derive(Default)]
struct Scratch {
    slab: Vec<Pixel>,
    cells: Vec<Pixel>,
    line: Vec<Pixel>,
}

/// The working memories that no task holds: as many as threads ever run at once.
#[derive(Default)]
struct Desk(Mutex<Vec<Scratch>>);

impl Desk {
    /// Runs a task with working memory. What it finds there is of no meaning.
    fn lend<T>(&self, task: impl FnOnce(&mut Scratch) -> T) -> T {
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = held().pop().unwrap_or_default();
        let result = task(&mut scratch);
        held().push(scratch);
        result
    }
}

impl Scratch {
    fn reserve(&mut self, task: &Task<'_>, plan: &RoiAlignPlan) {
        let Self { slab, cells, line } = self;
        let pixels = task.height * task.width;
        slab.resize(pixels.max(slab.len()), BLACK);
        cells.resize(plan.cells(), BLACK);
        line.resize(plan.side, BLACK);
    }
}

/// RoIs by level and image, in their order, with their position in the output.
fn by_map(plan: &RoiAlignPlan) -> Vec<Vec<(usize, &Region)>> {
    let [batch, ..] = plan.shapes[0];
    let mut maps = vec![Vec::new(); plan.shapes.len() * batch];
    for (position, region) in plan.regions.iter().enumerate() {
        maps[region.level * batch + region.image].push((position, region));
    }
    maps
}

fn forward(levels: &[Planes], plan: &RoiAlignPlan, channels: usize, out: &mut [f32]) {
    let cells = plan.cells();
    if out.is_empty() {
        return;
    }
    let maps = by_map(plan);
    let regions: Vec<Vec<&Region>> =
        maps.iter().map(|map| map.iter().map(|&(_, region)| region).collect()).collect();
    // Every (RoI, block) is one run of the output; hand each run to its task.
    let blocks = channels.div_ceil(LANES);
    let mut runs: Vec<Vec<&mut [f32]>> = (0..maps.len() * blocks).map(|_| Vec::new()).collect();
    let [batch, ..] = plan.shapes[0];
    for (region, row) in plan.regions.iter().zip(out.chunks_mut(channels * cells)) {
        let map = region.level * batch + region.image;
        for (block, run) in row.chunks_mut(LANES * cells).enumerate() {
            runs[map * blocks + block].push(run);
        }
    }
    let desk = Desk::default();
    let given: Vec<_> = runs.into_iter().enumerate().filter(|(_, runs)| !runs.is_empty()).collect();
    given.into_par_iter().with_max_len(1).for_each(|(number, runs)| {
        let (map, block) = (number / blocks, number % blocks);
        let task = Task::new(plan, map, block, &regions[map]);
        desk.lend(|scratch| {
            scratch.reserve(&task, plan);
            pool_all(&levels[task.level], plan, &task, scratch, runs);
        });
    });
}

vectorised! {
    /// Every RoI of a task, of sixteen channels each.
    fn pool_all(planes: &Planes, plan: &RoiAlignPlan, task: &Task<'_>, scratch: &mut Scratch, runs: Vec<&mut [f32]>) {
        planes.copy_rows(task, &task.touched_rows(plan), &mut scratch.slab);
        for (region, run) in task.regions.iter().zip(runs) {
            pool(plan, region, task, scratch, run);
        }
    }
}

/// One RoI of sixteen channels: `rows * slab * columns^T`, one row of the slab after the other.
#[inline(always)]
fn pool(plan: &RoiAlignPlan, region: &Region, task: &Task<'_>, scratch: &mut Scratch, out: &mut [f32]) {
    let Scratch { slab, cells, line } = scratch;
    cells.fill(BLACK);
    line.fill(BLACK);
    let columns = plan.columns(region);
    for row in plan.rows(region).chunk_by(|a, b| a.pixel == b.pixel) {
        let pixels = &slab[row[0].pixel as usize * task.width..][..task.width];
        for cell in columns.chunk_by(|a, b| a.cell == b.cell) {
            let mut sum = BLACK;
            for tap in cell {
                sum.add(tap.weight, pixels[tap.pixel as usize]);
            }
            line[cell[0].cell as usize] = sum;
        }
        for tap in row {
            let cells = &mut cells[tap.cell as usize * plan.side..][..plan.side];
            for (cell, &sum) in cells.iter_mut().zip(&*line) {
                cell.add(tap.weight, sum);
            }
        }
    }
    for (lane, plane) in out.chunks_exact_mut(plan.cells()).enumerate() {
        for (value, cell) in plane.iter_mut().zip(&*cells) {
            *value = cell.0[lane];
        }
    }
}

fn backward(grad: &[f32], plan: &RoiAlignPlan, levels: &mut [Vec<f32>]) {
    if grad.is_empty() {
        return;
    }
    let maps = by_map(plan);
    let regions: Vec<Vec<&Region>> =
        maps.iter().map(|map| map.iter().map(|&(_, region)| region).collect()).collect();
    let mut tasks = Vec::new();
    for (level, values) in levels.iter_mut().enumerate() {
        let [batch, channels, height, width] = plan.shapes[level];
        let plane = height * width;
        for (image, values) in values.chunks_mut(channels * plane).enumerate() {
            let map = level * batch + image;
            if !maps[map].is_empty() {
                let blocks = values.chunks_mut(LANES * plane).enumerate();
                tasks.extend(blocks.map(|(block, planes)| (map, block, planes)));
            }
        }
    }
    let desk = Desk::default();
    tasks.into_par_iter().with_max_len(1).for_each(|(map, block, planes)| {
        let task = Task::new(plan, map, block, &regions[map]);
        desk.lend(|scratch| {
            scratch.reserve(&task, plan);
            unpool_all(grad, plan, &task, &maps[map], scratch, planes);
        });
    });
}

vectorised! {
    /// The gradient of sixteen planes, from every RoI of a task with its position in the output.
    fn unpool_all(
        grad: &[f32],
        plan: &RoiAlignPlan,
        task: &Task<'_>,
        regions: &[(usize, &Region)],
        scratch: &mut Scratch,
        planes: &mut [f32],
    ) {
        let touched = task.touched_rows(plan);
        task.clear_rows(&touched, &mut scratch.slab);
        for &(position, region) in regions {
            unpool(grad, plan, (position, region), task, scratch);
        }
        task.write_rows(&touched, &scratch.slab, planes);
    }
}

/// The transpose of [`pool`]: adds one RoI's gradient of sixteen channels to the slab.
#[inline(always)]
fn unpool(
    grad: &[f32],
    plan: &RoiAlignPlan,
    (position, region): (usize, &Region),
    task: &Task<'_>,
    scratch: &mut Scratch,
) {
    let Scratch { slab, cells, line } = scratch;
    let [_, channels, _, _] = plan.shapes[task.level];
    let first = (position * channels + task.block * LANES) * plan.cells();
    let grad = &grad[first..][..task.lanes * plan.cells()];
    for (lane, plane) in grad.chunks_exact(plan.cells()).enumerate() {
        for (cell, &value) in cells.iter_mut().zip(plane) {
            cell.0[lane] = value;
        }
    }
    let columns = plan.columns_by_pixel(region);
    for row in plan.rows(region).chunk_by(|a, b| a.pixel == b.pixel) {
        line.fill(BLACK);
        for tap in row {
            let cells = &cells[tap.cell as usize * plan.side..][..plan.side];
            for (sum, &cell) in line.iter_mut().zip(cells) {
                sum.add(tap.weight, cell);
            }
        }
        let pixels = &mut slab[row[0].pixel as usize * task.width..][..task.width];
        for pixel in columns.chunk_by(|a, b| a.pixel == b.pixel) {
            let mut sum = BLACK;
            for tap in pixel {
                sum.add(tap.weight, line[tap.cell as usize]);
            }
            pixels[pixel[0].pixel as usize].add(1.0, sum);
        }
    }
}
