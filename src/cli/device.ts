/** What `--device` means here. Throws where the named device is not to be had. */
export function resolveDevice(name: string): string {
  if (name === 'auto' || name === 'cpu') return 'cpu'
  throw new Error(`There is no ${name} here: this build of repa-native has no CUDA; use --device cpu or auto.`)
}
