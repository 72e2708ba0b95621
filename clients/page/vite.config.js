import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The names of the built files stay the same, so that a change shows up as a small diff.
export default defineConfig({
  base: './',
  plugins: [svelte()],
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
