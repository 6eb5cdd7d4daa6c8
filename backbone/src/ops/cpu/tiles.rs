//! How the positions of a batch are cut into tasks: by sizes alone, never by the number of threads.
//!
//! Kernels deal them out one by one (`with_max_len(1)`): left to itself rayon cuts a list into a few parts, and one thread
//! ends each, however much longer it takes.

use core::ops::Range;

/// Floats of hidden layer a task works on at a time: half of a two-megabyte L2 cache with its inputs.
const TILE_FLOATS: usize = 96 * 1024;

/// Positions a task takes at least, so that packing weights is a small part of a product.
const FEWEST: usize = 192;

/// Positions a task takes at most.
const MOST: usize = 512;

/// Cuts `positions` into ranges of about equal length, by the width of the hidden layer.
pub(crate) fn tiles(positions: usize, hidden: usize) -> Vec<Range<usize>> {
    let most = (TILE_FLOATS / hidden.max(1)).clamp(FEWEST, MOST);
    // An even number: two threads end together.
    let count = positions.div_ceil(most).next_multiple_of(2);
    let len = positions.div_ceil(count.max(1)).max(1);
    let starts = (0..positions).step_by(len);
    starts.map(|start| start..(start + len).min(positions)).collect()
}

/// Cuts `channels` into ranges of at most `most`, an even number of them where possible.
pub(crate) fn chunks(channels: usize, most: usize) -> Vec<Range<usize>> {
    pieces(channels, channels.div_ceil(most).next_multiple_of(4))
}

/// Cuts `length` into `count` ranges or fewer: multiples of sixteen, whole vectors and cache lines of floats, and what remains.
pub(crate) fn pieces(length: usize, count: usize) -> Vec<Range<usize>> {
    let len = length.div_ceil(count.max(1)).next_multiple_of(16).max(1);
    let starts = (0..length).step_by(len);
    starts.map(|start| start..(start + len).min(length)).collect()
}

/// The images that a range of positions touches, each with its part of the range.
pub(crate) fn by_image(range: Range<usize>, per_image: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let first = range.start / per_image.max(1);
    let last = range.end.div_ceil(per_image.max(1));
    (first..last).map(move |image| {
        let start = range.start.max(image * per_image);
        let end = range.end.min((image + 1) * per_image);
        (image, start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_position_once() {
        for positions in [1, 95, 392, 25_088] {
            let tiles = tiles(positions, 384);
            assert_eq!(tiles.iter().map(ExactSizeIterator::len).sum::<usize>(), positions);
            assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        assert!(tiles(0, 384).is_empty());
    }

    #[test]
    fn a_range_is_cut_where_images_end() {
        let parts: Vec<_> = by_image(5..21, 8).collect();
        assert_eq!(parts, [(0, 5..8), (1, 8..16), (2, 16..21)]);
    }
}
