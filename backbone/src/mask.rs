//! Which patches of each image an encoder sees, and the rest, which it has to imagine.
//!
//! A patch is 32 pixels long, a position of the last stage. Every stage's map is cut into the same patches, of 8, 4, 2
//! positions a side and 1, so a mask drawn once holds at every stage (FCMAE, Woo et al. 2023,
//! <https://arxiv.org/abs/2301.00808>, section 3).
//!
//! What is visible of a map can be laid out as `[batch * visible, side, side, channels]`, patch after patch, image after
//! image. No 2x2 reduction between stages crosses the border of a patch, and so all of a network but its depthwise
//! convolutions works on that as on a batch of small images.

use burn::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Side of a patch in pixels: the stride of the last stage.
pub const PATCH: usize = 32;

/// Which patches of a batch are visible; as many in every image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    batch: usize,
    grid: [usize; 2],
    visible: usize,
    /// For each patch of each image, in reading order, how many visible ones of that image come before it, or
    /// [`Self::HIDDEN`].
    slots: Vec<u32>,
}

impl Mask {
    /// What stands for a hidden patch among the [`slots`](Self::slots).
    pub(crate) const HIDDEN: u32 = u32::MAX;

    /// Hides a share `ratio` of the patches of each image, at random: the same for the same seed.
    ///
    /// `grid` is the number of patches down and across. `floor(patches * (1 - ratio))` stay visible, as in the
    /// reference.
    ///
    /// # Panics
    /// If `ratio` is not a share.
    pub fn draw(batch: usize, grid: [usize; 2], ratio: f64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let patches = grid.iter().product::<usize>();
        let noise: Vec<f32> = (0..batch * patches).map(|_| rng.random()).collect();
        Self::from_noise(&noise, grid, ratio)
    }

    /// Hides those patches of each image whose `noise`, one number a patch, is largest.
    ///
    /// # Panics
    /// If `ratio` is not a share, or `noise` is not of whole images.
    pub fn from_noise(noise: &[f32], grid: [usize; 2], ratio: f64) -> Self {
        assert!((0.0..=1.0).contains(&ratio), "a mask cannot hide {ratio} of an image");
        let patches = grid.iter().product::<usize>();
        assert!(patches > 0 && noise.len().is_multiple_of(patches), "noise for a part of an image");
        let visible = (patches as f64 * (1.0 - ratio)) as usize;
        let mut hidden = Vec::with_capacity(noise.len());
        for noise in noise.chunks_exact(patches) {
            let mut order: Vec<usize> = (0..patches).collect();
            order.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
            let mut of_image = vec![true; patches];
            order[..visible].iter().for_each(|&patch| of_image[patch] = false);
            hidden.extend(of_image);
        }
        Self::from_hidden(&hidden, grid)
    }

    /// Hides the patches that `hidden`, image after image in reading order, says.
    ///
    /// # Panics
    /// If `hidden` is not of whole images, or not as many patches of each are visible.
    pub fn from_hidden(hidden: &[bool], grid: [usize; 2]) -> Self {
        let patches = grid.iter().product::<usize>();
        assert!(patches > 0 && hidden.len().is_multiple_of(patches), "a mask for a part of an image");
        let mut slots = Vec::with_capacity(hidden.len());
        let mut visible = None;
        for hidden in hidden.chunks_exact(patches) {
            let mut count = 0;
            for &hidden in hidden {
                slots.push(if hidden { Self::HIDDEN } else { count });
                count += u32::from(!hidden);
            }
            assert!(
                visible.is_none_or(|visible| visible == count),
                "as many patches of every image are visible"
            );
            visible = Some(count);
        }
        Self { batch: hidden.len() / patches, grid, visible: visible.unwrap_or(0) as usize, slots }
    }

    /// Hides nothing.
    pub fn none(batch: usize, grid: [usize; 2]) -> Self {
        Self::from_hidden(&vec![false; batch * grid.iter().product::<usize>()], grid)
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Patches of an image down and across.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// Visible patches of each image.
    pub fn visible(&self) -> usize {
        self.visible
    }

    /// Hidden patches of each image.
    pub fn hidden(&self) -> usize {
        self.patches() - self.visible
    }

    /// Whether a patch is hidden, image after image in reading order.
    pub fn is_hidden(&self) -> impl Iterator<Item = bool> {
        self.slots.iter().map(|&slot| slot == Self::HIDDEN)
    }

    /// For each patch of each image in reading order, the number of visible ones of its image before it, or
    /// [`Self::HIDDEN`].
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    fn patches(&self) -> usize {
        self.grid.iter().product()
    }

    /// One where a position of a map is visible and zero where it is not.
    ///
    /// # Shapes
    /// - output: `[batch, rows * side, columns * side, 1]`
    pub fn keep(&self, side: usize, device: &Device) -> Tensor<4> {
        let [rows, columns] = self.grid;
        let values: Vec<f32> = self.is_hidden().map(|hidden| if hidden { 0.0 } else { 1.0 }).collect();
        let patches = Tensor::<1>::from_data(TensorData::new(values, [self.slots.len()]), device);
        let patches = patches.reshape([self.batch, rows, 1, columns, 1, 1]);
        let positions = patches.expand([self.batch, rows, side, columns, side, 1]);
        positions.reshape([self.batch, rows * side, columns * side, 1])
    }

    /// The visible patches of a map, one after the other.
    ///
    /// # Shapes
    /// - `map_nhwc`: `[batch, rows * side, columns * side, channels]`
    /// - output: `[batch * visible, side, side, channels]`
    pub fn visible_of(&self, map_nhwc: Tensor<4>) -> Tensor<4> {
        let visible = self.indices(|slot| slot != Self::HIDDEN);
        select(cut(map_nhwc, self.grid), visible)
    }

    /// The hidden patches of a map, one after the other.
    ///
    /// # Shapes
    /// - `map_nhwc`: `[batch, rows * side, columns * side, channels]`
    /// - output: `[batch * hidden, side, side, channels]`
    pub fn hidden_of(&self, map_nhwc: Tensor<4>) -> Tensor<4> {
        let hidden = self.indices(|slot| slot == Self::HIDDEN);
        select(cut(map_nhwc, self.grid), hidden)
    }

    /// A map of the visible patches where they belong, and of `elsewhere` in all positions of the hidden ones.
    ///
    /// # Shapes
    /// - `patches`: `[batch * visible, side, side, channels]`
    /// - `elsewhere`: `[channels]`
    /// - output: `[batch, rows * side, columns * side, channels]`
    pub fn place(&self, patches: Tensor<4>, elsewhere: Tensor<1>) -> Tensor<4> {
        let [count, side, _, channels] = patches.dims();
        assert_eq!(count, self.batch * self.visible, "patches of another mask");
        let elsewhere = elsewhere.reshape([1, 1, 1, channels]).expand([1, side, side, channels]);
        let patches = if count == 0 { elsewhere } else { Tensor::cat(vec![patches, elsewhere], 0) };
        let per_image = self.slots.chunks_exact(self.patches()).enumerate();
        let sources = per_image.flat_map(|(image, slots)| {
            let first = image * self.visible;
            slots.iter().map(move |&slot| if slot == Self::HIDDEN { count } else { first + slot as usize })
        });
        let placed = select(patches, sources.collect());
        let [rows, columns] = self.grid;
        let placed = placed.reshape([self.batch, rows, columns, side, side, channels]);
        let placed = placed.permute([0, 1, 3, 2, 4, 5]);
        placed.reshape([self.batch, rows * side, columns * side, channels])
    }

    fn indices(&self, wanted: impl Fn(u32) -> bool) -> Vec<usize> {
        (0..self.slots.len()).filter(|&patch| wanted(self.slots[patch])).collect()
    }
}

/// All patches of a map, image after image in reading order.
///
/// # Shapes
/// - `map_nhwc`: `[batch, rows * side, columns * side, channels]`
/// - output: `[batch * rows * columns, side, side, channels]`
fn cut(map_nhwc: Tensor<4>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [batch, height, width, channels] = map_nhwc.dims();
    let (side, across) = (height / rows, width / columns);
    assert_eq!([rows * side, columns * across, side], [height, width, across], "a map of other patches");
    let patches = map_nhwc.reshape([batch, rows, side, columns, side, channels]);
    patches.permute([0, 1, 3, 2, 4, 5]).reshape([batch * rows * columns, side, side, channels])
}

fn select(patches: Tensor<4>, indices: Vec<usize>) -> Tensor<4> {
    let device = patches.device();
    let count = indices.len();
    let indices = indices.into_iter().map(|index| index as i32).collect::<Vec<_>>();
    patches.select(0, Tensor::from_data(TensorData::new(indices, [count]), &device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_hides_thirty_of_49_patches() {
        let mask = Mask::draw(3, [7, 7], 0.6, 5);
        assert_eq!((mask.visible(), mask.hidden()), (19, 30));
        let hidden: Vec<bool> = mask.is_hidden().collect();
        assert!(hidden.chunks(49).all(|image| image.iter().filter(|&&hidden| hidden).count() == 30));
    }

    #[test]
    fn a_seed_decides_and_images_differ() {
        let mask = Mask::draw(2, [7, 7], 0.6, 5);
        assert_eq!(mask, Mask::draw(2, [7, 7], 0.6, 5));
        assert_ne!(mask, Mask::draw(2, [7, 7], 0.6, 6));
        let hidden: Vec<bool> = mask.is_hidden().collect();
        assert_ne!(hidden[..49], hidden[49..]);
    }

    #[test]
    fn what_was_cut_out_is_put_back_where_it_was() {
        let device = Device::flex();
        let mask = Mask::from_hidden(&[true, false, false, true, false, true, true, false], [2, 2]);
        let map = Tensor::<1, Int>::arange(0..2 * 4 * 4 * 3, &device).float().reshape([2, 4, 4, 3]);
        let patches = mask.visible_of(map.clone());
        assert_shape!(patches, [4, 2, 2, 3]);
        let placed = mask.place(patches, Tensor::zeros([3], &device));
        let expected = map.clone() * mask.keep(2, &device);
        placed.into_data().assert_eq(&expected.into_data(), true);
        // The first hidden patch is the upper left one of the first image.
        let first = mask.hidden_of(map.clone()).slice(s![0..1]);
        first.into_data().assert_eq(&map.slice([0..1, 0..2, 0..2]).into_data(), true);
    }

    #[test]
    fn everything_or_nothing_can_be_hidden() {
        let device = Device::flex();
        let all = Mask::draw(1, [2, 3], 1.0, 0);
        assert_eq!(all.visible(), 0);
        let placed = all.place(Tensor::zeros([0, 1, 1, 2], &device), Tensor::ones([2], &device));
        assert_shape!(placed, [1, 2, 3, 2]);
        assert_eq!(placed.sum().into_scalar::<f32>(), 12.0);
        assert_eq!(Mask::draw(1, [2, 3], 0.0, 0), Mask::none(1, [2, 3]));
    }
}
