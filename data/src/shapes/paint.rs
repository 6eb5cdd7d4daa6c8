//! Colours and textures of the generated images.

use image::RgbImage;
use rand::{Rng, RngExt};

use super::outline::{Kind, Outline};
use super::scene::Scene;

/// Red, green, blue, 0 to 1.
type Color = [f32; 3];

/// How often an object has its class's colour, and its class's texture: a hint, not the answer.
const TYPICAL_PROBABILITY: f64 = 0.85;

/// Light comes from the upper left.
const LIGHT: [f32; 2] = [-0.6, -0.8];

/// Where shadows fall, pixels, and how far their edges blur.
const SHADOW_OFFSET: [f32; 2] = [1.6, 2.4];
const SHADOW_BLUR: f32 = 3.5;
const SHADOW_STRENGTH: f32 = 0.38;

/// Amplitude of the grain over the whole image.
const GRAIN: f32 = 0.018;

#[derive(Clone, Copy, Debug)]
enum Texture {
    Plain,
    Stripes,
    Dots,
    Checks,
    Rings,
}

/// The surface of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coat {
    base: Color,
    accent: Color,
    texture: Texture,
    /// Period of the texture over the object's radius.
    period: f32,
}

impl Coat {
    pub(super) fn draw<R: Rng + ?Sized>(kind: Kind, rng: &mut R) -> Self {
        let (typical_hue, typical_texture) = match kind {
            Kind::Disc => (6.0, Texture::Rings),
            Kind::Square => (212.0, Texture::Checks),
            Kind::Triangle => (150.0, Texture::Stripes),
            Kind::Star => (44.0, Texture::Dots),
        };
        let hue = if rng.random_bool(TYPICAL_PROBABILITY) {
            typical_hue + rng.random_range(-14.0..14.0)
        } else {
            rng.random_range(0.0..360.0)
        };
        const TEXTURES: [Texture; 5] =
            [Texture::Plain, Texture::Stripes, Texture::Dots, Texture::Checks, Texture::Rings];
        let texture = if rng.random_bool(TYPICAL_PROBABILITY) {
            typical_texture
        } else {
            TEXTURES[rng.random_range(0..TEXTURES.len())]
        };
        let saturation = rng.random_range(0.55..0.85);
        let value = rng.random_range(0.72..0.98);
        let accent = if rng.random() {
            hsv(hue + 8.0, saturation * 0.45, (value + 0.2f32).min(1.0))
        } else {
            hsv(hue - 12.0, (saturation + 0.1f32).min(1.0), value * 0.68)
        };
        let period = rng.random_range(0.38..0.6);
        Self { base: hsv(hue, saturation, value), accent, texture, period }
    }

    /// Colour at a local point of an outline.
    fn color(&self, outline: &Outline, [x, y]: [f32; 2]) -> Color {
        // At least five pixels, or the texture would be noise.
        let period = (self.period * outline.radius).max(5.0);
        // A wave of `period` pixels, -1 to 1.
        let wave = |v: f32| (v / period * std::f32::consts::TAU).cos();
        let share = match self.texture {
            Texture::Plain => return self.base,
            Texture::Stripes => wave(x),
            Texture::Checks => wave(x / 1.6) * wave(y / 1.6) * 3.0,
            Texture::Rings => wave(x.hypot(y)),
            Texture::Dots => {
                let cell = |v: f32| (v / period).rem_euclid(1.0) - 0.5;
                (0.3 - cell(x).hypot(cell(y))) * period
            }
        };
        // Edges inside the texture are about as soft as outlines.
        mix(self.base, self.accent, (share * 1.5 + 0.5).clamp(0.0, 1.0))
    }
}

/// What lies behind all objects: two muted colours, clouds of two sizes, and a faint weave.
pub(super) struct Backdrop {
    from: Color,
    to: Color,
    direction: [f32; 2],
    clouds: [Clouds; 2],
    weave: [f32; 3],
    grain_seed: u32,
}

impl Backdrop {
    pub(super) fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self {
        let mut muted = || {
            let hue = rng.random_range(0.0..360.0);
            hsv(hue, rng.random_range(0.08..0.32), rng.random_range(0.35..0.85))
        };
        let (from, to) = (muted(), muted());
        let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
        let weave_angle: f32 = rng.random_range(0.0..std::f32::consts::PI);
        let weave_length = std::f32::consts::TAU / rng.random_range(6.0..16.0);
        Self {
            from,
            to,
            direction: [angle.cos(), angle.sin()],
            clouds: [Clouds::draw(rng, 38.0), Clouds::draw(rng, 9.0)],
            weave: [
                weave_angle.cos() * weave_length,
                weave_angle.sin() * weave_length,
                rng.random_range(0.0..0.045),
            ],
            grain_seed: rng.random(),
        }
    }

    fn color(&self, x: f32, y: f32, size: f32) -> Color {
        let along = (x * self.direction[0] + y * self.direction[1]) / size;
        let [large, fine] = [0, 1].map(|index| self.clouds[index].at(x, y));
        let weave = (x * self.weave[0] + y * self.weave[1]).sin() * self.weave[2];
        let share = (along * 0.6 + 0.3 + large * 0.45).clamp(0.0, 1.0);
        mix(self.from, self.to, share).map(|v| v + large * 0.07 + fine * 0.05 + weave)
    }

    /// Noise of one pixel and channel, -1 to 1: an integer hash, so that it needs no memory.
    fn grain(&self, index: usize) -> f32 {
        let mut hash = (index as u32).wrapping_mul(0x9E37_79B9) ^ self.grain_seed;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
        ((hash ^ (hash >> 16)) as f32 / u32::MAX as f32) * 2.0 - 1.0
    }
}

/// Smooth noise: random values on a lattice of `cell` pixels that repeats after [`Clouds::SIDE`].
struct Clouds {
    cell: f32,
    values: Vec<f32>,
}

impl Clouds {
    const SIDE: usize = 32;

    fn draw<R: Rng + ?Sized>(rng: &mut R, cell: f32) -> Self {
        let values = (0..Self::SIDE * Self::SIDE).map(|_| rng.random_range(-1.0..1.0)).collect();
        Self { cell, values }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x / self.cell, y / self.cell);
        let (column, row) = (x as usize, y as usize);
        let value =
            |column: usize, row: usize| self.values[row % Self::SIDE * Self::SIDE + column % Self::SIDE];
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (ease(x.fract()), ease(y.fract()));
        let upper = value(column, row) * (1.0 - tx) + value(column + 1, row) * tx;
        let lower = value(column, row + 1) * (1.0 - tx) + value(column + 1, row + 1) * tx;
        upper * (1.0 - ty) + lower * ty
    }
}

impl Scene {
    /// The image: backdrop, then every object with its shadow, back to front, then grain.
    pub(super) fn paint(&self) -> RgbImage {
        let size = self.width.max(self.height) as f32;
        let mut canvas: Vec<Color> = (0..self.width * self.height)
            .map(|i| {
                let (x, y) = (i % self.width, i / self.width);
                self.backdrop.color(x as f32 + 0.5, y as f32 + 0.5, size)
            })
            .collect();
        for thing in &self.things {
            let outline = &thing.outline;
            let (columns, rows) = self.around(outline, SHADOW_BLUR + SHADOW_OFFSET[1] + 1.0);
            for (x, y) in rows.flat_map(|y| columns.clone().map(move |x| (x, y))) {
                let (at_x, at_y) = (x as f32 + 0.5, y as f32 + 0.5);
                let pixel = &mut canvas[y * self.width + x];
                let shadow =
                    outline.distance(outline.local(at_x - SHADOW_OFFSET[0], at_y - SHADOW_OFFSET[1]));
                let shadow = (0.5 - shadow / SHADOW_BLUR).clamp(0.0, 1.0) * SHADOW_STRENGTH;
                *pixel = pixel.map(|v| v * (1.0 - shadow));

                let local = outline.local(at_x, at_y);
                let distance = outline.distance(local);
                let coverage = (0.5 - distance).clamp(0.0, 1.0);
                if coverage > 0.0 {
                    let toward_light =
                        ((at_x - outline.x) * LIGHT[0] + (at_y - outline.y) * LIGHT[1]) / outline.radius;
                    // A darker rim sets objects of one colour apart.
                    let rim = 1.0 - 0.28 * (1.0 + (distance + 1.0) / 1.6).clamp(0.0, 1.0);
                    let light = (1.0 + 0.16 * toward_light) * rim;
                    let body = thing.coat.color(outline, local).map(|v| v * light);
                    *pixel = mix(*pixel, body, coverage);
                }
            }
        }
        let bytes = canvas.iter().flatten().enumerate().map(|(i, &value)| {
            // A cast to u8 clamps.
            ((value + self.backdrop.grain(i) * GRAIN) * 255.0).round() as u8
        });
        RgbImage::from_raw(self.width as u32, self.height as u32, bytes.collect())
            .expect("every pixel has three bytes")
    }
}

fn mix(a: Color, b: Color, share: f32) -> Color {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// Hue in degrees, any turn; saturation and value 0 to 1.
fn hsv(hue: f32, saturation: f32, value: f32) -> Color {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue / 60.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}
