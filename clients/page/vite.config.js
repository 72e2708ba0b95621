import { svelte } from '@sveltejs/vite-plugin-svelte'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

/** Write the licences of all packages whose code is in the built files: they ask for it. */
function licences() {
  return {
    name: 'licences',
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((file) => Object.keys(file.modules ?? {}))
      const names = modules.map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean)
      const texts = [...new Set(names)].sort().map((name) => {
        const folder = `node_modules/${name}`
        const { version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
        const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each))
        if (!file) throw new Error(`${name} has no file with its licence`)
        return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`
      })
      const head = 'The built files of the page contain code of these packages.\n'
      this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: [head, ...texts].join(`\n${'-'.repeat(80)}\n\n`) })
    },
  }
}

// The names of the built files stay the same, so that a change shows up as a small diff.
export default defineConfig({
  base: './',
  plugins: [svelte(), licences()],
  resolve: { alias: { 'pararnn-client': fileURLToPath(new URL('../js/src/index.js', import.meta.url)) } },
  server: { proxy: { '/v1': 'http://127.0.0.1:8000', '/ready': 'http://127.0.0.1:8000', '/tokenize': 'http://127.0.0.1:8000', '/detokenize': 'http://127.0.0.1:8000', '/tokenizer_info': 'http://127.0.0.1:8000' } },
  build: {
    outDir: '../../server/pararnn_server/http/ui',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    // A data: URL would need a wider content security policy.
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/app.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
      },
    },
  },
})
