const whole = new Intl.NumberFormat('en-US')

export const count = (value: number): string => whole.format(Math.round(value))

export const tokenCount = (value: number): string => `${count(value)} ${value === 1 ? 'token' : 'tokens'}`

export function short(value: number): string {
  if (value < 10_000) return count(value)
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)} k`
  return `${(value / 1e6).toFixed(value < 1e8 ? 1 : 0)} M`
}

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

export function seconds(value: number): string {
  if (value < 1) return `${Math.round(value * 1000)} ms`
  return `${value.toFixed(value < 10 ? 1 : 0)} s`
}

export function ago(time: number, now: number): string {
  const age = Math.max(0, now - time)
  if (age < 5) return 'now'
  if (age < 60) return `${Math.round(age)} s ago`
  if (age < 3600) return `${Math.round(age / 60)} min ago`
  if (age < 86400) return `${Math.round(age / 3600)} h ago`
  return `${Math.round(age / 86400)} d ago`
}

/** A name of a file that no system takes for a path. */
export const fileName = (title: string): string =>
  (title.normalize('NFKC').replace(/[^\p{L}\p{N} _.-]+/gu, '').trim().slice(0, 60) || 'session').replace(/^\.+/, '_')
