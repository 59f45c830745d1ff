//! Floating-point operations of a Wan pass: shapes alone decide. A multiply-add counts 2.

use super::WanConfig;

impl WanConfig {
    /// Operations of self-attention, cross-attention and feed-forward of one block, for `batch` latents
    /// of `tokens` tokens.
    pub fn unit_flops(&self, tokens: usize, batch: usize) -> [f64; 3] {
        let [s, d, f, m, b] = [tokens, self.dim, self.ffn_dim, self.text_len, batch].map(|n| n as f64);
        let self_attn = 8.0 * s * d * d + 4.0 * s * s * d;
        let cross_attn = 4.0 * (s + m) * d * d + 4.0 * s * m * d;
        let mlp = 4.0 * s * d * f;
        [b * self_attn, b * cross_attn, b * mlp]
    }
    /// Operations of the embeddings of latent and timestep, and of the head. The text projection runs
    /// once a prompt, not once a pass.
    pub fn rest_flops(&self, tokens: usize, batch: usize) -> f64 {
        let [s, d, freq, b] = [tokens, self.dim, self.freq_dim, batch].map(|n| n as f64);
        let patch = ((self.in_channels + self.out_channels) * self.patch_volume()) as f64;
        2.0 * (b * s * d * patch + freq * d + 7.0 * d * d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_at_480p_costs_what_the_papers_count_with_attention() {
        let tokens = 21 * 30 * 52; // 832×480, 81 frames
        for (name, expected) in [("wan2.1-t2v-1.3b", 2.83e14), ("wan2.1-t2v-14b", 1.68e15)] {
            let wan = WanConfig::preset(name).unwrap();
            let block: f64 = wan.unit_flops(tokens, 1).iter().sum();
            let total = wan.layers as f64 * block + wan.rest_flops(tokens, 1);
            // Three digits are published.
            assert!(
                (total / expected - 1.0).abs() < 0.01,
                "{name}: {total:e}, expected {expected:e}"
            );
        }
    }
}
