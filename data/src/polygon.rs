//! Polygons to masks, to the pixel as pycocotools' `rleFrPoly` fills them.

use thiserror::Error;

use crate::polygon_fill::Outlines;
use crate::rle::{Rle, RleError};

/// Why numbers are not polygons.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PolygonError {
    /// A list without polygons.
    #[error("no polygon in the list")]
    Empty,
    /// A polygon with too few numbers.
    #[error("polygon {polygon} has {found} numbers; possible are 4 (a box, if all have 4) or at least 6")]
    TooShort {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// A polygon that is no outline, where outlines are wanted.
    #[error("polygon {polygon} has {found} numbers; possible are even counts from 6")]
    NoOutline {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// Some polygons are boxes of 4 numbers, this one is not.
    #[error("polygon {polygon} has {found} numbers, but the first has 4 and makes all of them boxes")]
    NotABox {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// A coordinate that is no finite number.
    #[error("polygon {polygon} has the coordinate {found}; possible are finite numbers")]
    NotFinite {
        /// Which polygon, from 0.
        polygon: usize,
        /// The coordinate.
        found: f64,
    },
    /// A frame too large for runs.
    #[error(transparent)]
    Frame(#[from] RleError),
}

impl Rle {
    /// The union of polygons `x0, y0, x1, y1, ..` in pixels of a frame, as `merge(frPyObjects(..))` of pycocotools.
    ///
    /// Where the first polygon has exactly 4 numbers, all are taken as boxes (left, top, width, height), not as
    /// segments. A last odd number is left out. Vertices may lie outside the frame, repeat and cross.
    ///
    /// # Errors
    /// Where pycocotools would raise: no polygon, fewer than 4 numbers in the first, boxes mixed with polygons; and for
    /// coordinates that are not finite, and frames of more than `u32::MAX` pixels.
    pub fn from_polygons(polygons: &[Vec<f64>], height: u32, width: u32) -> Result<Self, PolygonError> {
        let mut runs = Vec::new();
        Outlines::default().fill(polygons, height, width, &mut runs)?;
        Ok(Self::from_foreground(&runs, height, width))
    }

    /// The pixels of a box (left, top, width, height), filled as the polygon of its corners.
    ///
    /// # Errors
    /// For frames of more than `u32::MAX` pixels.
    pub fn from_box(bbox: [f64; 4], height: u32, width: u32) -> Result<Self, RleError> {
        let mut runs = Vec::new();
        Outlines::default().fill_box(bbox, height, width, &mut runs)?;
        Ok(Self::from_foreground(&runs, height, width))
    }

    /// From ascending runs of foreground that do not touch, in a frame whose pixels 32 bits can count.
    fn from_foreground(runs: &[[u32; 2]], height: u32, width: u32) -> Self {
        let mut counts = Vec::with_capacity(runs.len() * 2 + 1);
        let mut before = 0;
        for &[start, end] in runs {
            counts.extend([start - before, end - start]);
            before = end;
        }
        let rest = height * width - before;
        if rest > 0 || runs.is_empty() {
            counts.push(rest);
        }
        Self { height, width, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;

    fn picture(polygon: &[f64], height: u32, width: u32) -> Vec<String> {
        let rle = Rle::from_polygons(&[polygon.to_vec()], height, width).unwrap();
        assert_eq!(rle.counts.iter().sum::<u32>(), height * width);
        let mask = Mask::from_rle(&rle);
        let pixel = |x, y| if mask.get(x, y) { '#' } else { '.' };
        (0..mask.frame_height).map(|y| (0..mask.frame_width).map(|x| pixel(x, y)).collect()).collect()
    }

    #[test]
    fn a_square_to_nine_fills_nine_pixels_a_side() {
        // cocodataset/cocoapi#659: edges are not pixels.
        let rle = Rle::from_polygons(&[vec![0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0, 0.0]], 12, 12).unwrap();
        assert_eq!((rle.area(), rle.to_box()), (81, [0.0, 0.0, 9.0, 9.0]));
    }

    #[test]
    fn four_numbers_are_a_box() {
        assert_eq!(picture(&[1.0, 1.0, 2.0, 1.0], 3, 4), ["....", ".##.", "...."]);
        let mixed = [vec![0.0; 4], vec![0.0; 6]];
        assert_eq!(Rle::from_polygons(&mixed, 3, 3), Err(PolygonError::NotABox { polygon: 1, found: 6 }));
    }

    #[test]
    fn polygons_that_are_none_are_refused() {
        let case = |polygons: &[Vec<f64>]| Rle::from_polygons(polygons, 3, 3).unwrap_err();
        assert_eq!(case(&[]), PolygonError::Empty);
        assert_eq!(case(&[vec![1.0, 2.0]]), PolygonError::TooShort { polygon: 0, found: 2 });
        let infinite = [vec![0.0, 0.0, 1.0, f64::INFINITY, 2.0, 2.0]];
        assert_eq!(case(&infinite), PolygonError::NotFinite { polygon: 0, found: f64::INFINITY });
        let huge = Rle::from_polygons(&[vec![0.0; 6]], 1 << 16, 1 << 16);
        let too_large = RleError::TooLarge { height: 1 << 16, width: 1 << 16 };
        assert_eq!(huge, Err(PolygonError::Frame(too_large)));
    }

    #[test]
    fn repeated_vertices_change_nothing() {
        let once = picture(&[1.0, 0.0, 4.0, 2.0, 0.0, 4.0], 5, 5);
        assert_eq!(picture(&[1.0, 0.0, 1.0, 0.0, 4.0, 2.0, 4.0, 2.0, 4.0, 2.0, 0.0, 4.0], 5, 5), once);
    }

    #[test]
    fn a_bow_tie_is_filled_even_odd() {
        let tie = picture(&[0.0, 0.0, 6.0, 6.0, 6.0, 0.0, 0.0, 6.0], 6, 6);
        assert_eq!(tie, ["#....#", "##..##", "######", "##..##", "#....#", "......"]);
    }

    #[test]
    fn the_near_way_and_the_far_way_agree() {
        // A frame of more rows than the near way takes, of which only the first are looked at.
        let (height, tall, width) = (40, 70_000, 60);
        let mut state = 7u32;
        let mut number = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..300 {
            // With many vertices, columns are crossed more often than the near way can keep.
            let count = 3 + number(40);
            let steps = [1.0, 10.0, 100.0][number(3) as usize];
            let vertices = (0..2 * count).map(|_| f64::from(number((80.0 * steps) as u32)) / steps - 10.0);
            let polygons = [vertices.collect()];
            let near = Mask::from_rle(&Rle::from_polygons(&polygons, height, width).unwrap());
            let far = Mask::from_rle(&Rle::from_polygons(&polygons, tall, width).unwrap());
            for (x, y) in (0..width as usize).flat_map(|x| (0..height as usize).map(move |y| (x, y))) {
                assert_eq!(near.get(x, y), far.get(x, y), "({x}, {y}) of {polygons:?}");
            }
        }
    }

    #[test]
    fn a_polygon_around_the_image_covers_it_at_once() {
        let far = 4e8;
        assert_eq!(picture(&[-far, -far, far, -far, far, far, -far, far], 2, 3), ["###", "###"]);
        assert_eq!(picture(&[9.0, 9.0, 12.0, 9.0, 12.0, 12.0], 2, 3), ["...", "..."]);
    }
}
