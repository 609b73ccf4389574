/** The first setting, as JSON, that two sets of them do not have in common. */
export function differingSetting<Settings extends object>(
  one: Settings,
  other: Settings,
): (keyof Settings & string) | undefined {
  const names = Object.keys({ ...one, ...other }) as (keyof Settings & string)[]
  return names.find((name) => JSON.stringify(one[name]) !== JSON.stringify(other[name]))
}

/** Throws where one of a process's settings is not the leader's. */
export function requireAlike<Settings extends object>(own: Settings, leaders: Settings): void {
  const name = differingSetting(own, leaders)
  if (name === undefined) return
  const [mine, its] = [JSON.stringify(own[name]), JSON.stringify(leaders[name])]
  throw new Error(
    `it has ${name} ${mine} where process 0 has ${its}; start all processes with the same command on the same files.`,
  )
}
