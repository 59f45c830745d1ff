//! What decoding needs at least of a device's memory, known from sizes alone.

use super::{CogVideoXVaeConfig, HunyuanVaeConfig, Tiling, VaeConfig, WanVaeConfig, cogvideox, hunyuan};

/// Bytes of a number: all autoencoders compute in f32.
const NUMBER_BYTES: u64 = 4;

impl VaeConfig {
    /// Bytes that stand at once where decoding a video of so many frames, rows and columns of pixels is widest: where the
    /// decoder reaches full size, with all frames that it has there in hand or remembers, and the video itself. A back end
    /// may hold more. `tiles` is whether frames are decoded in tiles where that is a choice.
    pub fn decode_bytes(&self, [frames, rows, columns]: [usize; 3], tiles: bool) -> u64 {
        let tiling = match self {
            VaeConfig::Wan(_) => tiles.then_some(Tiling::PUBLISHED),
            VaeConfig::Hunyuan(_) => Some(Tiling::PUBLISHED),
            VaeConfig::CogVideoX(config) => tiles.then(|| config.tiling()),
        };
        let [tile_rows, tile_columns] = tiling.map_or([rows, columns], |tiling| tiling.side);
        let pixels = rows.min(tile_rows) * columns.min(tile_columns);
        let channels = match self {
            VaeConfig::Wan(config) => wan(config, frames),
            VaeConfig::Hunyuan(config) => hunyuan(config, frames),
            VaeConfig::CogVideoX(config) => cogvideox(config, frames),
        };
        let video = 3 * frames * rows * columns;
        (channels * pixels + video) as u64 * NUMBER_BYTES
    }
}

/// Channels times frames of Wan: a block's input, what its convolution sees and what it makes, and two frames before
/// each convolution of the level and before the head.
fn wan(config: &WanVaeConfig, frames: usize) -> usize {
    let width = config.widths()[0];
    let convolutions = 2 * (config.blocks + 1) + 1;
    width * (3 * frames.min(config.strides()[0]) + 2 * convolutions)
}

/// Of HunyuanVideo: in the first norm of the level, what the block keeps, and its input centred and squared.
fn hunyuan(config: &HunyuanVaeConfig, frames: usize) -> usize {
    let [width, before] = [config.widths[0], config.widths[1]];
    (width + 2 * before) * frames.min(hunyuan::TILE_FRAMES * config.strides()[0] + 1)
}

/// Of CogVideoX: in the first norm of the level, what the block keeps, its input normed, its scale, and what these are
/// put together of; and two frames before each convolution of the level and before the head.
fn cogvideox(config: &CogVideoXVaeConfig, frames: usize) -> usize {
    let [width, before] = [config.widths[0], config.widths[1]];
    let at_once = cogvideox::LATENT_FRAMES_AT_ONCE * config.strides()[0];
    let in_hand = width + 3 * before;
    match frames > at_once + 1 {
        true => in_hand * at_once + 2 * (before + 2 * (config.blocks + 1) * width),
        false => in_hand * frames, // one batch, before which there is nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Config;

    fn published(model: &str) -> VaeConfig {
        VaeConfig::published(&Config::preset(model).unwrap())
    }

    #[test]
    fn a_longer_clip_needs_no_more_than_its_own_frames() {
        for (model, longer) in [("wan2.1-t2v-14b", 81), ("hunyuan-video", 129), ("cogvideox-5b", 49)] {
            let vae = published(model);
            let [short, long] = [25, longer].map(|frames| vae.decode_bytes([frames, 480, 720], false));
            let video_bytes = 3 * 480 * 720 * 4;
            assert_eq!(long - short, (longer - 25) as u64 * video_bytes, "{model}");
        }
    }

    #[test]
    fn tiles_of_a_quarter_of_the_frame_need_a_quarter_beside_the_video() {
        let (vae, size) = (published("cogvideox-5b"), [49, 480, 720]);
        let video_bytes = 3 * 49 * 480 * 720 * 4;
        let [whole, tiled] = [false, true].map(|tiles| vae.decode_bytes(size, tiles) - video_bytes);
        assert_eq!(whole, 4 * tiled);
    }
}
