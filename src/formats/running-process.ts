/** Whether a process of this machine of this number runs, whoever's it is. */
export function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // Another user's may not be asked (EPERM), and is there.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
