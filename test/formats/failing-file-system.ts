import { nodeFileSystem, type WritableFileSystem } from '../../src/formats/atomic-file.ts'

/** A disk on which the system refuses with `code` once more than `capacity` bytes of a file are written. */
export function failingFileSystem(code: string, capacity: number): WritableFileSystem {
  // As it is now: this may be put in its place.
  const { create } = nodeFileSystem
  return {
    ...nodeFileSystem,
    async create(path) {
      const file = await create(path)
      return {
        ...file,
        async write(data, position) {
          if (position + data.length > capacity) throw Object.assign(new Error(`${code}: refused`), { code })
          await file.write(data, position)
        },
      }
    },
  }
}

/** A disk that does not spend time on blocks of zeros: they become holes, as in a sparse file. */
export const sparseFileSystem: WritableFileSystem = {
  ...nodeFileSystem,
  async create(path) {
    const file = await nodeFileSystem.create(path)
    return { ...file, write: async (data, at) => (data.length >= 2 ** 20 ? undefined : file.write(data, at)) }
  },
}
