//! What lies where in one image: placement, occlusion, and the annotations that follow.

use rand::{Rng, RngExt};
use serde_json::{Value, json};

use super::outline::{Kind, Outline};
use super::paint::{Backdrop, Coat};
use crate::label_map::LabelMap;
use crate::mask::Mask;

/// Areas, in pixels, between which objects are drawn: inside COCO's small (below 32 squared), medium
/// and large (from 96 squared), with some room for what is hidden.
const AREAS: [[f32; 2]; 3] = [[120.0, 800.0], [1300.0, 7000.0], [11_500.0, 16_000.0]];

/// How often each of [`AREAS`] is drawn.
const AREA_SHARES: [f32; 3] = [0.40, 0.36, 0.24];

/// Largest area of an object as a share of the image, so that small images are not filled by one.
const LARGEST_SHARE: f32 = 0.5;

/// Share of an object that later ones must leave visible: a sliver teaches nothing.
const VISIBLE_SHARE: f32 = 0.45;

/// Share of an object that must lie inside the image.
const INSIDE_SHARE: f32 = 0.65;

/// How often an image is empty, and how often it has a crowd.
const EMPTY_PROBABILITY: f64 = 0.02;
const CROWD_PROBABILITY: f64 = 0.12;

/// No object owns the pixel.
const NOBODY: u16 = u16::MAX;

/// An object; objects of one crowd share a group.
pub(super) struct Thing {
    pub(super) outline: Outline,
    pub(super) coat: Coat,
    crowd: bool,
    /// Pixels inside the image when nothing hides them.
    area: usize,
}

/// One image before it is painted.
pub(super) struct Scene {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) backdrop: Backdrop,
    /// Back to front.
    pub(super) things: Vec<Thing>,
    /// Index of the thing that is seen at each pixel.
    owners: Vec<u16>,
}

impl Scene {
    /// Draws a scene whose longer side is `size`.
    pub(super) fn draw<R: Rng + ?Sized>(rng: &mut R, size: u32) -> Self {
        let short = (f64::from(size) * rng.random_range(0.75..=1.0)).round() as usize;
        let (width, height) = match rng.random_range(0..5) {
            0 => (size as usize, size as usize),
            1 | 2 => (size as usize, short),
            _ => (short, size as usize),
        };
        let backdrop = Backdrop::draw(rng);
        let owners = vec![NOBODY; width * height];
        let mut scene = Self { width, height, backdrop, things: Vec::new(), owners };
        if rng.random_bool(EMPTY_PROBABILITY) {
            return scene;
        }
        if rng.random_bool(CROWD_PROBABILITY) {
            scene.place_crowd(rng);
        }
        // A picture of 192 x 168 pixels has 3 to 8; others in proportion to their length.
        let most = (8.0 * (width * height) as f32 / (192.0 * 168.0)).sqrt() * 8f32.sqrt();
        let count = rng.random_range(3..=(most as usize).max(4));
        for _ in 0..count {
            scene.place_somewhere(rng);
        }
        scene
    }

    /// Tries some places for one more object and gives up if the picture is full.
    fn place_somewhere<R: Rng + ?Sized>(&mut self, rng: &mut R) {
        /// More tries would fill the last gaps, always with small objects.
        const TRIES: usize = 12;
        let mut share: f32 = rng.random();
        let class = AREA_SHARES.iter().position(|&part| {
            share -= part;
            share < 0.0
        });
        let [from, to] = AREAS[class.unwrap_or(0)];
        let largest = LARGEST_SHARE * (self.width * self.height) as f32;
        let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
        for _ in 0..TRIES {
            let area = (from * (to / from).powf(rng.random())).min(largest);
            let radius = (area / kind.area_factor()).sqrt();
            // Half a radius inside, or in the middle where that is impossible.
            let mut centre = |size: usize| {
                let room = (size as f32 - radius).max(0.0);
                (size as f32 - room) / 2.0 + rng.random::<f32>() * room
            };
            let outline = Outline {
                kind,
                x: centre(self.width),
                y: centre(self.height),
                radius,
                turn: rng.random_range(0.0..std::f32::consts::TAU).sin_cos(),
            };
            if self.place(outline, false, rng) {
                return;
            }
        }
    }

    /// A swarm of one kind, too dense to tell the members apart.
    fn place_crowd<R: Rng + ?Sized>(&mut self, rng: &mut R) {
        let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
        let spread = rng.random_range(14.0..24.0f32);
        let margin = spread.min(self.width.min(self.height) as f32 / 3.0);
        let x = rng.random_range(margin..self.width as f32 - margin);
        let y = rng.random_range(margin..self.height as f32 - margin);
        for _ in 0..rng.random_range(14..26) {
            let (angle, distance): (f32, f32) =
                (rng.random_range(0.0..std::f32::consts::TAU), rng.random::<f32>().sqrt() * spread);
            let outline = Outline {
                kind,
                x: x + distance * angle.cos(),
                y: y + distance * angle.sin(),
                radius: rng.random_range(4.5..7.0),
                turn: rng.random_range(0.0..std::f32::consts::TAU).sin_cos(),
            };
            self.place(outline, true, rng);
        }
    }

    /// Puts an object in front of all others, unless it would hide one of them or leave the image.
    /// Members of the crowd may hide one another.
    fn place<R: Rng + ?Sized>(&mut self, outline: Outline, crowd: bool, rng: &mut R) -> bool {
        let covered = self.covered(&outline);
        let whole = outline.kind.area_factor() * outline.radius * outline.radius;
        if (covered.len() as f32) < INSIDE_SHARE * whole || covered.is_empty() {
            return false;
        }
        let mut hidden = vec![0usize; self.things.len()];
        for &pixel in &covered {
            if self.owners[pixel] != NOBODY {
                hidden[usize::from(self.owners[pixel])] += 1;
            }
        }
        let visible = self.visible();
        let acceptable = self.things.iter().enumerate().all(|(index, thing)| {
            let left = (visible[index] - hidden[index]) as f32;
            hidden[index] == 0
                || (crowd && thing.crowd)
                || left >= (VISIBLE_SHARE * thing.area as f32).max(AREAS[0][0] / 2.0)
        });
        if !acceptable {
            return false;
        }
        for &pixel in &covered {
            self.owners[pixel] = self.things.len() as u16;
        }
        let coat = Coat::draw(outline.kind, rng);
        self.things.push(Thing { outline, coat, crowd, area: covered.len() });
        true
    }

    /// Pixels whose centre lies inside the outline.
    fn covered(&self, outline: &Outline) -> Vec<usize> {
        let (columns, rows) = self.around(outline, 1.0);
        rows.flat_map(|y| columns.clone().map(move |x| (x, y)))
            .filter(|&(x, y)| outline.distance(outline.local(x as f32 + 0.5, y as f32 + 0.5)) <= 0.0)
            .map(|(x, y)| y * self.width + x)
            .collect()
    }

    /// Columns and rows of the image within the outline's circle and `margin` pixels.
    pub(super) fn around(
        &self,
        outline: &Outline,
        margin: f32,
    ) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let reach = outline.radius + margin;
        let range = |centre: f32, size: usize| {
            let from = (centre - reach).max(0.0) as usize;
            from.min(size)..((centre + reach).max(0.0).ceil() as usize).min(size)
        };
        (range(outline.x, self.width), range(outline.y, self.height))
    }

    /// Number of pixels seen of each thing.
    fn visible(&self) -> Vec<usize> {
        let mut visible = vec![0; self.things.len()];
        for &owner in self.owners.iter().filter(|&&owner| owner != NOBODY) {
            visible[usize::from(owner)] += 1;
        }
        visible
    }

    /// COCO annotations, without ids: one for each object that is seen, one for the crowd.
    pub(super) fn annotations(&self, image_id: u64) -> Vec<Value> {
        let is_crowd = |thing: &Thing| thing.crowd;
        let single =
            self.things.iter().enumerate().filter(|(_, thing)| !is_crowd(thing)).map(|(index, thing)| {
                let mask = self.mask(|owner| usize::from(owner) == index);
                annotation(image_id, thing.outline.kind, &mask, false)
            });
        let crowd = self.things.iter().find(|thing| is_crowd(thing)).map(|first| {
            let mask = self.mask(|owner| self.things.get(usize::from(owner)).is_some_and(is_crowd));
            annotation(image_id, first.outline.kind, &mask, true)
        });
        single.chain(crowd).flatten().collect()
    }

    /// The class of every pixel: 0 between the objects, then kinds from 1; crowds are ignored.
    pub(super) fn labels(&self) -> LabelMap {
        let class = |&owner: &u16| match self.things.get(usize::from(owner)) {
            None => 0,
            Some(thing) if thing.crowd => LabelMap::IGNORED,
            Some(thing) => thing.outline.kind as u8 + 1,
        };
        LabelMap { width: self.width, height: self.height, pixels: self.owners.iter().map(class).collect() }
    }

    fn mask(&self, belongs: impl Fn(u16) -> bool) -> Mask {
        Mask {
            frame_width: self.width,
            frame_height: self.height,
            x0: 0,
            y0: 0,
            width: self.width,
            height: self.height,
            pixels: self.owners.iter().map(|&owner| u8::from(belongs(owner))).collect(),
        }
    }
}

/// One annotation, or none if nothing is seen.
fn annotation(image_id: u64, kind: Kind, mask: &Mask, crowd: bool) -> Option<Value> {
    let bounds = mask.bounding_box()?;
    let [x, y] = [bounds.x0, bounds.y0];
    Some(json!({
        "image_id": image_id,
        "category_id": kind as usize + 1,
        "bbox": [x, y, bounds.x1 - x, bounds.y1 - y],
        "area": mask.area(),
        "iscrowd": u8::from(crowd),
        "segmentation": {
            "size": [mask.frame_height, mask.frame_width],
            "counts": mask.to_rle().to_compressed(),
        },
    }))
}
