// Softmax attention on Hopper's tensor cores (sm_90a), bf16 in and out, sums in f32; no mask.
//
// A group of three warpgroups takes 128 queries of one head. One warp fetches keys and values, 128 at a time, by the
// copy engine (TMA) into two stages of shared memory each; two warpgroups of 64 queries each multiply (wgmma) and keep
// the running maximum and sum of the softmax in registers. While the products of one tile with its values run, the
// scores of the next one are computed and turned into weights; and the two warpgroups take turns, so that the exponentials
// of one meet the products of the other. The scheme is that of FlashAttention-3 (arXiv 2407.08608); no code of it is used.
//
// Queries, keys, values and the output are [b, tokens, heads·D]: no transposition anywhere.
//
// D, the channels of a head (64 or 128), is defined by who compiles this. No header is needed.

typedef unsigned int u32;
typedef unsigned long long u64;
struct alignas(64) TensorMap { char bytes[128]; };

constexpr int ROWS = 128;        // queries of a group
constexpr int KEYS = 128;        // keys and values of a stage
constexpr int STAGES = 2;
constexpr int PANELS = D / 64;   // a row of shared memory holds 64 channels: 128 bytes, swizzled
constexpr int PANEL = 128 * 128; // bytes, of 128 rows
constexpr int TILE = PANELS * PANEL;
constexpr int N8 = KEYS / 8, O8 = D / 8;

__device__ __forceinline__ u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void arm(u32 barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count));
}
__device__ __forceinline__ void expect(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void await(u32 barrier, u32 parity) {
    asm volatile("{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra again;\n}" ::"r"(barrier), "r"(parity) : "memory");
}
/// Rows `row..` of head `head`, channels in panels of 64, to shared memory. Rows past the end become zeros.
__device__ __forceinline__ void fetch(u32 to, const TensorMap *map, int head, int row, int batch, u32 barrier) {
#pragma unroll
    for (int panel = 0; panel < PANELS; panel++)
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to + panel * PANEL), "l"(map), "r"(head * D + panel * 64), "r"(row), "r"(batch), "r"(barrier) : "memory");
}

// A matrix in shared memory for wgmma: swizzled rows of 128 bytes, 1024 bytes from 8 rows to the next 8, and, where its
// rows are what is summed over, `leading` bytes from 64 columns to the next 64.
__device__ __forceinline__ u64 matrix(u32 at, u32 leading) {
    return (u64)((at & 0x3FFFF) >> 4) | (u64)(leading >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}

#define FENCE() asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define COMMIT() asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")
template <int pending> __device__ __forceinline__ void settle() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
template <int n> __device__ __forceinline__ void hold(float (&x)[n]) {
#pragma unroll
    for (int i = 0; i < n; i++) asm volatile("" : "+f"(x[i])::"memory");
}

#define F4(x, i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define F16(x, i) F4(x, i), F4(x, i + 4), F4(x, i + 8), F4(x, i + 12)
#define R32 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define R64 R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/// Scores of 64 queries and 128 keys, 16 channels of them; `more` adds to what is there.
__device__ __forceinline__ void scores(float (&s)[64], u64 q, u64 k, int more) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " R64 "}, %64, %65, p, 1, 1, 0, 0;\n}"
                 : F16(s, 0), F16(s, 16), F16(s, 32), F16(s, 48) : "l"(q), "l"(k), "r"(more));
}
/// Adds weights [64, 16] times values [16, D].
__device__ __forceinline__ void weigh(float (&o)[64], const u32 *p, u64 v) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " R64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                 : F16(o, 0), F16(o, 16), F16(o, 32), F16(o, 48) : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v));
}
__device__ __forceinline__ void weigh(float (&o)[32], const u32 *p, u64 v) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " R32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                 : F16(o, 0), F16(o, 16) : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v));
}
__device__ __forceinline__ u32 pack(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ __forceinline__ float exp2_(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

extern "C" __global__ void __launch_bounds__(384, 1)
attention(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
          const __grid_constant__ TensorMap v_map, u32 *__restrict__ out, int queries, int keys, int heads, float scale) {
    extern __shared__ char raw[];
    __shared__ u64 barriers[1 + 4 * STAGES];
    const u32 q_at = (shared(raw) + 1023) & ~1023;
    const u32 k_at = q_at + TILE, v_at = k_at + STAGES * TILE;
    const u32 q_full = shared(barriers), k_full = q_full + 8, k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES,
              v_empty = v_full + 8 * STAGES;
    const int group = threadIdx.x / 128, head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * ROWS;
    const int tiles = (keys + KEYS - 1) / KEYS;
    if (threadIdx.x == 0) {
        arm(q_full, 1);
        for (int i = 0; i < STAGES; i++) {
            arm(k_full + 8 * i, 1), arm(v_full + 8 * i, 1);
            arm(k_empty + 8 * i, 8), arm(v_empty + 8 * i, 8); // one of each warp that multiplies
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x == 0) {
            expect(q_full, TILE);
            fetch(q_at, &q_map, head, first, batch, q_full);
            for (int j = 0; j < tiles; j++) {
                const int stage = j % STAGES;
                const u32 parity = (j / STAGES) & 1;
                await(k_empty + 8 * stage, parity ^ 1);
                expect(k_full + 8 * stage, TILE);
                fetch(k_at + stage * TILE, &k_map, head, j * KEYS, batch, k_full + 8 * stage);
                await(v_empty + 8 * stage, parity ^ 1);
                expect(v_full + 8 * stage, TILE);
                fetch(v_at + stage * TILE, &v_map, head, j * KEYS, batch, v_full + 8 * stage);
            }
        }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int turn = group - 1, lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
    const u32 mine = q_at + turn * 64 * 128;
    float s[64], o[D / 2];
    u32 p[32];
    float top[2] = {-1e30f, -1e30f}, sum[2] = {0, 0}, shrink[2];
#pragma unroll
    for (int i = 0; i < D / 2; i++) o[i] = 0;

    // Scores of tile j, begun.
    auto begin_scores = [&](int j) {
        const u32 tile = k_at + j % STAGES * TILE;
        hold(s);
        FENCE();
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            const u32 off = c / 4 * PANEL + c % 4 * 32;
            scores(s, matrix(mine + off, 16), matrix(tile + off, 16), c != 0);
        }
        COMMIT();
    };
    // Products with the values of tile j, begun.
    auto begin_weigh = [&](int j) {
        const u32 tile = v_at + j % STAGES * TILE;
        hold(o);
        FENCE();
#pragma unroll
        for (int c = 0; c < KEYS / 16; c++) weigh(o, p + 4 * c, matrix(tile + c * 16 * 128, PANEL));
        COMMIT();
    };
    // From scores to unscaled weights, in place; `shrink` is what earlier ones have to be multiplied by.
    auto soften = [&](int j) {
        if (j == tiles - 1 && keys % KEYS) {
            const int rest = keys % KEYS;
#pragma unroll
            for (int i = 0; i < 64; i++)
                if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= rest) s[i] = -1e30f;
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float best = top[r];
#pragma unroll
            for (int i = 0; i < N8; i++) best = fmaxf(best, fmaxf(s[4 * i + 2 * r], s[4 * i + 2 * r + 1]));
            best = fmaxf(best, __shfl_xor_sync(0xffffffff, best, 1));
            best = fmaxf(best, __shfl_xor_sync(0xffffffff, best, 2));
            shrink[r] = exp2_((top[r] - best) * scale);
            top[r] = best;
            const float shift = best * scale;
            float here = 0;
#pragma unroll
            for (int i = 0; i < N8; i++) {
                s[4 * i + 2 * r] = exp2_(s[4 * i + 2 * r] * scale - shift);
                s[4 * i + 2 * r + 1] = exp2_(s[4 * i + 2 * r + 1] * scale - shift);
                here += s[4 * i + 2 * r] + s[4 * i + 2 * r + 1];
            }
            sum[r] = sum[r] * shrink[r] + here;
        }
    };
    auto round_weights = [&] {
#pragma unroll
        for (int i = 0; i < 32; i++) p[i] = pack(s[2 * i], s[2 * i + 1]);
    };
    auto release = [&](u32 barrier, int j) {
        if (lane == 0) arrive(barrier + 8 * (j % STAGES));
    };
    // Turns: who holds the barrier of its own number may begin products.
    auto take_turn = [&] { asm volatile("bar.sync %0, 256;" ::"r"(1 + turn) : "memory"); };
    auto pass_turn = [&] { asm volatile("bar.arrive %0, 256;" ::"r"(2 - turn) : "memory"); };

    if (turn == 1) pass_turn(); // the first one begins
    await(q_full, 0);
    await(k_full, 0);
    take_turn();
    begin_scores(0);
    pass_turn();
    settle<0>();
    hold(s);
    release(k_empty, 0);
    soften(0);
    round_weights();
    for (int j = 1; j < tiles; j++) {
        const u32 parity = (j / STAGES) & 1, before = ((j - 1) / STAGES) & 1;
        await(k_full + 8 * (j % STAGES), parity);
        take_turn();
        begin_scores(j);
        await(v_full + 8 * ((j - 1) % STAGES), before);
        begin_weigh(j - 1);
        pass_turn();
        settle<1>();
        hold(s);
        release(k_empty, j);
        soften(j);
        settle<0>();
        hold(o);
        release(v_empty, j - 1);
#pragma unroll
        for (int i = 0; i < D / 2; i++) o[i] *= shrink[i / 2 % 2];
        round_weights();
    }
    await(v_full + 8 * ((tiles - 1) % STAGES), ((tiles - 1) / STAGES) & 1);
    begin_weigh(tiles - 1);
    settle<0>();
    hold(o);

#pragma unroll
    for (int r = 0; r < 2; r++) {
        sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 1);
        sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 2);
        const int row = first + turn * 64 + warp * 16 + r * 8 + lane / 4;
        if (row >= queries) continue;
        const float inverse = 1 / sum[r];
        u32 *at = out + (((u64)batch * queries + row) * heads + head) * (D / 2) + lane % 4;
#pragma unroll
        for (int i = 0; i < O8; i++) at[4 * i] = pack(o[4 * i + 2 * r] * inverse, o[4 * i + 2 * r + 1] * inverse);
    }
}
