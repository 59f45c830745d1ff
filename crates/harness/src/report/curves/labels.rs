//! Numbers beside the markers of curves.

use crate::report::chart::Frame;
use crate::report::draw::{self, Canvas, SMALL_PX};
use anyhow::Result;
use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

/// Places numbers beside markers where they cover nothing, and leaves out those that find no room.
pub(super) struct Labels<'a> {
    taken: Vec<[i32; 4]>, // left, top, right, bottom
    frame: &'a Frame,
}

impl<'a> Labels<'a> {
    pub(super) fn new(frame: &'a Frame) -> Self {
        let taken = Vec::new();
        Labels { taken, frame }
    }

    pub(super) fn avoid_marker(&mut self, (x, y): (i32, i32)) {
        self.taken.push([x - 11, y - 11, x + 11, y + 11]);
    }

    pub(super) fn avoid_line(&mut self, path: &[(i32, i32)]) {
        for ends in path.windows(2) {
            let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
            let steps = ((x1 - x0).abs().max((y1 - y0).abs()) / 5).max(1);
            for i in 0..=steps {
                let (x, y) = (x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps);
                self.taken.push([x - 2, y - 2, x + 2, y + 2]);
            }
        }
    }

    pub(super) fn put(&mut self, canvas: &Canvas, text: &str, (x, y): (i32, i32), colour: RGBColor) -> Result<()> {
        let (w, h) = (draw::text_width(text, SMALL_PX), SMALL_PX as i32);
        let beside = w / 2 + 15;
        let centres = [
            (0, -22),
            (0, 23),
            (beside, 0),
            (-beside, 0),
            (beside, -16),
            (beside, 16),
            (-beside, -16),
            (-beside, 16),
            (0, -34),
            (0, 35),
            (beside + 8, -26),
            (-beside - 8, 26),
            (beside + 8, 26),
            (-beside - 8, -26),
        ];
        for (dx, dy) in centres {
            let (cx, cy) = (x + dx, y + dy);
            let own = [cx - w / 2 - 2, cy - h / 2 - 1, cx + w / 2 + 2, cy + h / 2 + 1];
            let inside = own[0] > self.frame.left
                && own[1] > self.frame.top - 12
                && own[2] < self.frame.right + 12
                && own[3] < self.frame.bottom - 2;
            let free = self
                .taken
                .iter()
                .all(|other| own[2] < other[0] || other[2] < own[0] || own[3] < other[1] || other[3] < own[1]);
            if inside && free {
                draw::text(canvas, text, (cx, cy), SMALL_PX, colour, HPos::Center)?;
                self.taken.push(own);
                return Ok(());
            }
        }
        Ok(())
    }
}
