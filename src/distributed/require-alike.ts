/** Throws where one of a process's settings is not the leader's. */
export function requireAlike<Settings extends object>(own: Settings, leaders: Settings): void {
  for (const name of Object.keys({ ...own, ...leaders }) as (keyof Settings & string)[]) {
    const [mine, its] = [JSON.stringify(own[name]), JSON.stringify(leaders[name])]
    if (mine !== its) {
      throw new Error(
        `it has ${name} ${mine} where process 0 has ${its}; start all processes with the same command on the same files.`,
      )
    }
  }
}
