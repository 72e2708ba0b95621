// Sampling settings of this browser. An empty field is left out of a request: the server's default holds.

export interface Sampling {
  temperature: number | null
  top_p: number | null
  top_k: number | null
  min_p: number | null
  repetition_penalty: number | null
  max_tokens: number | null
  seed: number | null
  system: string
}

const EMPTY: Sampling = {
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  repetition_penalty: null,
  max_tokens: 512,
  seed: null,
  system: '',
}
const NAME = 'pararnn-sampling'

function stored(): Sampling {
  try {
    return { ...EMPTY, ...JSON.parse(localStorage.getItem(NAME) ?? '{}') }
  } catch {
    return { ...EMPTY }
  }
}

export const sampling: Sampling = $state(stored())

export const saveSampling = (): void => localStorage.setItem(NAME, JSON.stringify(sampling))

export function resetSampling(): void {
  Object.assign(sampling, EMPTY)
  saveSampling()
}

export function requestFields(): Record<string, number> {
  const { system: _, seed: __, ...numbers } = sampling
  return Object.fromEntries(Object.entries(numbers).filter((entry): entry is [string, number] => entry[1] !== null))
}
