/** Our icon: a clock with a bar of rest. */
import { LabIcon } from '@jupyterlab/ui-components';

const SVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">
  <path class="jp-icon3" fill="#616161" d="M12 2a10 10 0 1 0 0 20a10 10 0 0 0 0-20zm0 2a8 8 0 1 1 0 16a8 8 0 0 1 0-16zm-1 2.5v6.1l4.6 2.8l1-1.7l-3.6-2.1v-5.1z"/>
</svg>`;

export const clockIcon = new LabIcon({ name: 'culling-manager:clock', svgstr: SVG });
