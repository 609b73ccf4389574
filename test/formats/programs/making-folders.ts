/** `making-folders.ts PATH…`: tries to make each, and prints what the command line says of one that cannot be made. */
import { describeFailure } from '../../../src/cli/failure.ts'
import { makeFolder } from '../../../src/formats/make-folder.ts'

for (const path of process.argv.slice(2)) {
  await makeFolder(path).catch((error: unknown) => console.log(describeFailure(error)))
}
