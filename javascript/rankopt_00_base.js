// Rank-Optimize: the namespace and what every part of the board uses.
// Classic scripts, loaded in alphabetical order by the webui or by the standalone page; they do nothing until the board's container exists.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.base) return;

    const SVG = 'http://www.w3.org/2000/svg';
    const ICONS = {
        like: 'M7 11v9H4v-9zM7 11l4-8c1.700 0 2.500 1 2.500 2.500L13 9h5.500c1.200 0 2 1 1.800 2.200l-1.300 7c-.2 1-1 1.800-2 1.800H7',
        dislike: 'M7 13V4H4v9zM7 13l4 8c1.700 0 2.500-1 2.500-2.500L13 15h5.500c1.200 0 2-1 1.800-2.200l-1.300-7c-.2-1-1-1.800-2-1.800H7',
        zoom: 'M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M15.500 15.500 21 21',
        crown: 'M4 18h16M4 15l-1-8 5 4 4-6 4 6 5-4-1 8z',
        back: 'M15 5l-7 7 7 7',
        close: 'M6 6l12 12M18 6 6 18',
        split: 'M4 5h16v14H4zM12 5v14',
        four: 'M4 5h16v14H4zM12 5v14M4 12h16',
        one: 'M4 5h16v14H4z',
        slider: 'M4 5h16v14H4zM12 3v18M9 10l-2 2 2 2M15 10l2 2-2 2',
        blind: 'M3 12s3.500-6 9-6 9 6 9 6-3.500 6-9 6-9-6-9-6M4 20 20 4',
        auto: 'M5 8h14v11H5zM12 8V4M9 13v1M15 13v1M2 13h3M19 13h3',
        help: 'M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 18v.5',
        pen: 'M4 20l1-5L16 4l4 4L9 19z',
        bin: 'M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13',
        branch: 'M7 4v16M7 14c8 0 10-3 10-7M14 8l3-3 3 3',
        use: 'M4 12v7h16v-7M12 15V4M8 8l4-4 4 4',
        tree: 'M3 6h4c5 0 4 6 9 6h5M3 12h13M3 18h4c5 0 4-6 9-6',
        score: 'M9.500 4l-2 16M16.500 4l-2 16M4.500 9h16M3.500 15h16',
        curve: 'M4 4v16h16M7 8c2 8 5 8 13 8',
        folder: 'M3 6h6l2 3h10v10H3zM7 14h10M14 11l3 3-3 3',
        full: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
    };

    /** Build an element: h('button', {class: 'x', onclick: f, 'aria-label': 'y'}, 'text', child). Text is always text, never markup. */
    function h(tag, props, ...children) {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(props || {})) {
            if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
            else set(element, name, value);
        }
        element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
        return element;
    }

    /** Set or remove an attribute; writes only what changed. */
    function set(element, name, value) {
        if (value === null || value === undefined || value === false) {
            if (element.hasAttribute(name)) element.removeAttribute(name);
        } else if (element.getAttribute(name) !== String(value === true ? '' : value)) {
            element.setAttribute(name, value === true ? '' : value);
        }
    }

    /** Set the text of an element, only if it differs. */
    function text(element, value) {
        if (element.textContent !== String(value)) element.textContent = value;
    }

    /** Switch a class. */
    function mark(element, name, on) {
        if (element.classList.contains(name) !== Boolean(on)) element.classList.toggle(name, Boolean(on));
    }

    /** A line icon. */
    function icon(name) {
        const svg = document.createElementNS(SVG, 'svg');
        svg.setAttribute('viewBox', '0 0 24 24');
        svg.setAttribute('class', 'ro-icon');
        svg.setAttribute('aria-hidden', 'true');
        const path = document.createElementNS(SVG, 'path');
        path.setAttribute('d', ICONS[name]);
        svg.append(path);
        return svg;
    }

    /** A button with an icon, a text and its key; after a click by pointer the focus goes back to the board, so that keys go on working. */
    function button(label, key, onclick, options) {
        const given = options || {};
        const keycap = key ? h('kbd', {'aria-hidden': 'true'}, key === 'Escape' ? 'Esc' : key) : null;
        const inside = [given.icon ? icon(given.icon) : null, given.iconOnly ? null : h('span', {class: 'ro-label'}, label), keycap];
        const title = key ? `${label} (${key})` : label;
        return h('button', {
            type: 'button',
            class: `ro-button ${given.class || ''}`,
            title,
            'aria-label': given.iconOnly ? title : null,
            'aria-keyshortcuts': key && key.length === 1 ? key : null,
            'data-command': given.command,
            onclick: (event) => {
                if (event.detail > 0) event.currentTarget.blur();
                onclick(event);
            },
        }, ...inside);
    }

    /** Is the host dark? Without a host as the system is. */
    function dark() {
        if (!document.querySelector('gradio-app, .gradio-container')) return matchMedia('(prefers-color-scheme: dark)').matches;
        return Boolean(document.querySelector('body.dark, html.dark, .dark .gradio-container, gradio-app.dark, .gradio-container.dark'));
    }

    const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

    /** 1 → "1st". */
    function ordinal(number) {
        const tail = number % 100;
        const suffix = tail > 10 && tail < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][number % 10] || 'th';
        return `${number}${suffix}`;
    }

    /** Seconds as a person says them. */
    function duration(seconds) {
        if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '';
        if (seconds < 1.5) return 'about a second';
        if (seconds < 90) return `about ${Math.round(seconds)} s`;
        if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
        return `about ${Math.round(seconds / 3600)} h`;
    }

    /** "1 image", "3 images". */
    const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? '' : 's'}`;

    /** A name for one action, so that sending it twice counts once. */
    function token() {
        const bytes = new Uint8Array(16);
        globalThis.crypto.getRandomValues(bytes);
        return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    }

    ns.base = {h, set, text, mark, icon, button, clamp, sleep, ordinal, duration, plural, token, dark};
}());
