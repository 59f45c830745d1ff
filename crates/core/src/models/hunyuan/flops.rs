//! Floating-point operations of a HunyuanVideo pass: shapes alone decide. A multiply-add counts 2.

use super::HunyuanConfig;

impl HunyuanConfig {
    /// Operations of a double block's attention and feed-forward, and of a single block, on `tokens` tokens
    /// of video and text together.
    pub fn unit_flops(&self, tokens: usize) -> [f64; 3] {
        let [s, d, f] = [tokens, self.dim, self.mlp_dim].map(|n| n as f64);
        let modulation = 6.0 * d * d;
        let (attn, mlp) = (8.0 * s * d * d + 4.0 * s * s * d, 4.0 * s * d * f);
        [attn + 2.0 * modulation, mlp + 2.0 * modulation, attn + mlp + modulation]
    }
    /// Operations of the embedding of the latent, of the token refiner, and of the head. What is made of
    /// prompt and guidance alone runs once a prompt, not once a pass.
    pub fn rest_flops(&self, video: usize, text: usize) -> f64 {
        let [s, n, d, freq, layers] = [video, text, self.dim, self.freq_dim, self.refiner_layers].map(|n| n as f64);
        let patch = ((self.in_channels + self.out_channels) * self.patch_volume()) as f64;
        let refiner = layers * (24.0 * n * d * d + 4.0 * n * n * d + 4.0 * d * d);
        let times = 2.0 * 2.0 * (freq * d + d * d); // of the blocks, and of the refiner
        2.0 * s * d * patch + refiner + times + 4.0 * d * d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_costs_what_the_shapes_say() {
        let hunyuan = HunyuanConfig::preset("hunyuan-video").unwrap();
        // 129 frames: 720×1280 and 544×960. Layers and attention, as published sizes give them.
        for (video, expected) in [(33 * 45 * 80, 1.21e16), (33 * 34 * 60, 4.29e15)] {
            let [attn, mlp, fused] = hunyuan.unit_flops(video + 256);
            let total = 20.0 * (attn + mlp) + 40.0 * fused + hunyuan.rest_flops(video, 256);
            // Three digits are known.
            assert!(
                (total / expected - 1.0).abs() < 0.01,
                "{video}: {total:e}, expected {expected:e}"
            );
        }
    }
}
