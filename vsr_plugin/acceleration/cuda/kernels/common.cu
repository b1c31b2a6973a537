// What the kernels share. It is put before each source; they include no headers, which only the CUDA toolkit has.
//
// Features are channels-last in half precision: bfloat16 if BF16 is 1, else float16. Tiles of them lie in shared memory
// as planes of 8 channels, 16 bytes per pixel: so the input of any tap of a convolution begins at a multiple of 16
// bytes, and eight neighbouring pixels are the 128 bytes that a tensor core reads at once, without conflicts. Planes
// are an odd number of pixels apart, so that the planes of one pixel do not conflict either.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct alignas(16) Vec { u32 part[4]; };  // 8 channels

#ifndef BF16
#define BF16 0
#endif
#if BF16
#define NAME "bf16"
#else
#define NAME "f16"
#endif

__device__ __forceinline__ u32 pack(float low, float high) {
    u32 packed;
    asm("cvt.rn." NAME "x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
__device__ __forceinline__ float unpack(u32 value) {  // its low half
#if BF16
    return __uint_as_float(value << 16);
#else
    float result;
    asm("cvt.f32.f16 %0, %1;\n" : "=f"(result) : "h"((u16)value));
    return result;
#endif
}

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes from global to shared memory, or zeros.
__device__ __forceinline__ void copy_async(u32 to, const void* from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(inside ? 16 : 0));
}
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;\n" ::); }
template <int N> __device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

// What wgmma reads: of eight neighbouring pixels or channels, 16 bytes each, `inner` bytes to the next 8 channels of
// the sum, `outer` bytes to the next eight pixels or channels.
__device__ __forceinline__ u64 descriptor(u32 address, u32 inner, u32 outer) {
    return (u64)((address & 0x3FFFF) >> 4) | (u64)(inner >> 4) << 16 | (u64)(outer >> 4) << 32;
}

__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}
// 16 pixels by 8 output channels by 16 input channels.
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." NAME "." NAME ".f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

