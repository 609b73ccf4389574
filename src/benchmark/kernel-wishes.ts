/** Which kernels the environment asks a GPU for: what a measurement says that it was made with. */
export interface KernelWishes {
  /** What REPA_GEMM asked for: which kernel makes the products. */
  readonly gemm: string
  /** What REPA_ATTENTION asked for: which kernels make attention. */
  readonly attention: string
}

export function kernelWishes(): KernelWishes {
  return { gemm: process.env.REPA_GEMM || 'own', attention: process.env.REPA_ATTENTION || 'default' }
}
