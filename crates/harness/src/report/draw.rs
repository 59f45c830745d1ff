//! Canvas, text and files: plotters draws SVG, resvg turns the same SVG into PNG, with one bundled font.

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::{tiny_skia, usvg};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A drawing in progress.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Width of every picture in pixels; the PNG has twice as many.
pub const WIDTH: i32 = 1600;

const HEADING_LEFT: i32 = 40;

/// Smallest text in pixels: what the last row of a lecture hall can read on a 1600×900 slide.
pub const SMALL_PX: f64 = 17.0;

/// Ink of axes and text.
pub const INK: RGBColor = RGBColor(34, 34, 34);

/// Colours that stay apart for the colour-blind (Okabe and Ito 2008), without yellow, which vanishes on white.
pub const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Okabe and Ito's vermillion: kept for MixCache and for warnings.
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);

/// Warnings that nobody may overlook.
pub const RED: RGBColor = RGBColor(190, 0, 0);

const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");
const FAMILY: &str = "DejaVu Sans, sans-serif";

/// plotters divides a font's size by this when it writes SVG.
const PLOTTERS_EM: f64 = 1.24;

/// SVG of what `draw` draws on white.
pub fn svg(height: i32, draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    register_font()?;
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
    canvas.fill(&WHITE)?;
    draw(&canvas)?;
    canvas.present()?;
    drop(canvas);
    Ok(text)
}

/// Writes `<stem>.svg` and `<stem>.png` into `folder`.
pub fn save(folder: &Path, stem: &str, svg: &str) -> Result<[PathBuf; 2]> {
    let paths = [folder.join(format!("{stem}.svg")), folder.join(format!("{stem}.png"))];
    crate::schema::replace_file(&paths[0], svg.as_bytes())?;
    crate::schema::replace_file(&paths[1], &rasterise(svg)?)?;
    Ok(paths)
}

fn parse(svg: &str) -> Result<usvg::Tree> {
    let mut options = usvg::Options::default();
    options.fontdb_mut().load_font_data(FONT.to_vec());
    usvg::Tree::from_str(svg, &options).context("the drawn SVG cannot be parsed")
}

fn rasterise(svg: &str) -> Result<Vec<u8>> {
    let tree = parse(svg)?;
    let size = tree.size();
    let (width, height) = (2 * size.width() as u32, 2 * size.height() as u32);
    let mut pixmap = tiny_skia::Pixmap::new(width, height).context("a picture of no or too many pixels")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(2.0, 2.0), &mut pixmap.as_mut());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    // The background is opaque, so premultiplied and straight alpha are the same.
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixmap.data())?;
    writer.finish()?;
    Ok(bytes)
}

/// Draws `text` in one line; `at` is its left, centre or right (`h`) and its middle height.
pub fn text(canvas: &Canvas, text: &str, at: (i32, i32), px: f64, colour: RGBColor, h: HPos) -> Result<()> {
    let style = font(px).color(&colour).pos(Pos::new(h, VPos::Center));
    Ok(canvas.draw(&Text::new(text.to_string(), at, style))?)
}

/// Draws `text` turned to read upwards, centred on `at`.
pub fn text_upwards(canvas: &Canvas, text: &str, at: (i32, i32), px: f64) -> Result<()> {
    let style = font(px)
        .transform(FontTransform::Rotate270)
        .color(&INK)
        .pos(Pos::new(HPos::Center, VPos::Center));
    Ok(canvas.draw(&Text::new(text.to_string(), at, style))?)
}

/// Width of `text` in pixels, a few per cent on the safe side.
pub fn text_width(text: &str, px: f64) -> i32 {
    let layout = font(px).box_size(text);
    layout.map_or((text.chars().count() as f64 * px * 0.6) as i32, |(width, _)| {
        width as i32
    })
}

/// Breaks `text` at spaces into lines no wider than `width` pixels.
pub fn wrap(text: &str, px: f64, width: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), px) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Title, what was run, and what the reader must be warned of, laid out before the picture's height is known.
pub struct Heading {
    lines: Vec<(String, f64, RGBColor, i32)>,
    /// Pixels it takes at the top.
    pub height: i32,
}

impl Heading {
    /// Breaks everything into lines.
    pub fn new(title: &str, subtitle: &[String], warnings: &[String]) -> Result<Heading> {
        register_font()?;
        let mut heading = Heading {
            lines: Vec::new(),
            height: 40,
        };
        heading.add(&[title.to_string()], 30.0, INK);
        heading.add(subtitle, 18.0, RGBColor(90, 90, 90));
        heading.add(warnings, 20.0, RED);
        Ok(heading)
    }

    fn add(&mut self, paragraphs: &[String], px: f64, colour: RGBColor) {
        for line in paragraphs
            .iter()
            .flat_map(|text| wrap(text, px, WIDTH - 2 * HEADING_LEFT))
        {
            self.lines.push((line, px, colour, self.height));
            self.height += (px * 1.5) as i32;
        }
    }

    /// Draws it at the top.
    pub fn draw(&self, canvas: &Canvas) -> Result<()> {
        for (line, px, colour, y) in &self.lines {
            text(canvas, line, (HEADING_LEFT, *y), *px, *colour, HPos::Left)?;
        }
        Ok(())
    }
}

fn font(px: f64) -> FontDesc<'static> {
    (FAMILY, px * PLOTTERS_EM).into_font()
}

fn register_font() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let done = REGISTERED.get_or_init(|| plotters::style::register_font(FAMILY, FontStyle::Normal, FONT).is_ok());
    done.then_some(())
        .ok_or_else(|| anyhow!("the bundled font DejaVuSans.ttf cannot be read"))
}

/// Every text of a picture with its box in pixels (left, top, right, bottom), and the picture's height.
#[cfg(test)]
pub fn text_boxes(svg: &str) -> (Vec<(String, [f32; 4])>, f32) {
    fn walk(group: &usvg::Group, found: &mut Vec<(String, [f32; 4])>) {
        for node in group.children() {
            match node {
                usvg::Node::Group(group) => walk(group, found),
                usvg::Node::Text(text) => {
                    let content = text.chunks().iter().map(|chunk| chunk.text()).collect();
                    let ink = text.abs_bounding_box();
                    found.push((content, [ink.left(), ink.top(), ink.right(), ink.bottom()]));
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    let tree = parse(svg).unwrap();
    walk(tree.root(), &mut found);
    (found, tree.size().height())
}
