import { spawnSync } from 'node:child_process'

/** One sentence that names what a build from source needs and this machine has not, or undefined. */
export function missingTools() {
  const runs = (command) => !spawnSync(command, ['--version'], { stdio: 'ignore' }).error
  const missing = []
  if (!runs('cmake')) missing.push('CMake 3.22 or later')
  if (![process.env.CXX, 'c++', 'g++', 'clang++'].some((compiler) => compiler && runs(compiler))) {
    missing.push('a C++20 compiler (g++ 11 or clang 14, or later)')
  }
  if (!['ninja', 'make'].some(runs)) missing.push('make or ninja')
  if (missing.length === 0) return undefined
  const platform = `${process.platform}-${process.arch}`
  return `repa-native: this package holds no prebuilt addon that loads here (${platform}), and building one needs ${missing.join(' and ')}, which this machine has not; install that (Debian and Ubuntu: apt install g++ cmake make) and run npm install again.`
}
