//! Floating-point operations of a CogVideoX pass: shapes alone decide. A multiply-add counts 2.

use super::CogVideoXConfig;

impl CogVideoXConfig {
    /// Operations of attention and feed-forward of one block, for `batch` latents with `tokens` tokens of video
    /// and text together.
    pub fn unit_flops(&self, tokens: usize, batch: usize) -> [f64; 2] {
        let [s, d, f, time, b] = [tokens, self.dim, self.mlp_dim, self.time_dim, batch].map(|n| n as f64);
        let modulation = 12.0 * time * d; // once a pass, whatever the batch
        let attn = 8.0 * s * d * d + 4.0 * s * s * d;
        [b * attn + modulation, b * 4.0 * s * d * f + modulation]
    }
    /// Operations of the embeddings of latent and timestep, and of the head. The text projection runs once a
    /// prompt, not once a pass.
    pub fn rest_flops(&self, video: usize, batch: usize) -> f64 {
        let [s, d, time, b] = [video, self.dim, self.time_dim, batch].map(|n| n as f64);
        let patch = ((self.in_channels + self.out_channels) * self.patch_volume()) as f64;
        2.0 * (b * s * d * patch + d * time + time * time + 2.0 * time * d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_costs_two_operations_a_weight_and_token_and_the_attention() {
        let cogvideox = CogVideoXConfig::preset("cogvideox-5b").unwrap();
        // 49 frames of 720×480. What every token meets in a block: 12·d² weights; pairs of tokens: 4·d.
        let (video, text) = (13 * 30 * 45, 226);
        let tokens = (video + text) as f64;
        let expected = 42.0 * (24.0 * tokens * 3072f64.powi(2) + 4.0 * tokens.powi(2) * 3072.0);
        let total = 42.0 * cogvideox.unit_flops(video + text, 1).iter().sum::<f64>() + cogvideox.rest_flops(video, 1);
        // Embeddings, modulations and head are a thousandth.
        assert!(
            total > expected && total < 1.002 * expected,
            "{total:e}, expected {expected:e}"
        );
    }
}
