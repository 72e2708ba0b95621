// The token log of an exported session: a safetensors file with the tensor `tokens`.

const LARGEST_HEADER = 1 << 20

export async function tokensOf(file: Blob): Promise<{ tokens: number[]; start: number }> {
  const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true))
  if (length > LARGEST_HEADER) throw new Error('The exported file has a header that is too large.')
  const header = JSON.parse(await file.slice(8, 8 + length).text())
  const offsets: [number, number] | undefined = header.tokens?.data_offsets
  if (!offsets) return { tokens: [], start: 0 }
  const data = await file.slice(8 + length + offsets[0], 8 + length + offsets[1]).arrayBuffer()
  return { tokens: Array.from(new Int32Array(data)), start: Number(header.__metadata__?.log_start ?? 0) }
}
