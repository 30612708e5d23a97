// Inside the webui: ♥ and ✗ below its galleries, their keys, and what Save, Send to and ✨ may count as. Options decide; all off, nothing runs.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.gallery || typeof onUiLoaded !== 'function') return;

    const {h, set, text} = ns.base;
    const TABS = ['txt2img', 'img2img', 'extras'];
    const KINDS = ['like', 'dislike'];
    const SIGNS = {like: '♥', dislike: '✗'};
    const VERBS = {like: 'Like', dislike: 'Dislike'};
    const SAID = {like: 'Liked', dislike: 'Disliked', unlike: 'Neither liked nor disliked'};
    const TAKEN = ['s']; // of the webui's own full-size view
    const WATCHES = {childList: true, subtree: true, attributes: true, attributeFilter: ['class', 'src']};

    const byId = (id) => document.getElementById(id);
    const option = (name) => (typeof opts === 'object' && opts ? opts[name] : undefined);
    const isOn = (source) => Boolean(option(`rankopt_implicit_${source}`));

    // -- which image is meant
    /** Where the tab's gallery has its images, one button each; the preview's own row has them once more. */
    function items(tab) {
        const gallery = byId(`${tab}_gallery`);
        if (!gallery) return [];
        const found = gallery.querySelectorAll('.grid-container > .thumbnail-item');
        return [...(found.length ? found : gallery.querySelectorAll('.thumbnails > .thumbnail-item'))];
    }

    const sourceOf = (item) => item.querySelector('img')?.src || '';

    /** Grids come first: how many there are. */
    function grids(tab) {
        const info = document.querySelector(`#generation_info_${tab} textarea`);
        try {
            return JSON.parse(info.value).index_of_first_image || 0;
        } catch {
            return 0;
        }
    }

    const lightbox = () => {
        const box = byId('lightboxModal');
        return box && box.style.display && box.style.display !== 'none' ? box : null;
    };

    /** The image at an index: its address, or why nothing can be said of it. */
    function imageAt(tab, list, index, src = index < 0 ? '' : sourceOf(list[index])) {
        if (!list.length) return {why: 'There is no image yet.'};
        if (index < 0) return {why: 'Choose an image first.'};
        if (index < grids(tab)) return {why: 'This is a grid of several images; choose one of them.'};
        return src.includes('file=') ? {src} : {why: 'The image is not a file yet.'};
    }

    const chosen = (list) => (list.length === 1 ? 0 : list.findIndex((item) => item.classList.contains('selected')));

    /** The image that the person looks at. */
    function shown(tab) {
        const list = items(tab);
        if (lightbox()) {
            const {src} = byId('modalImage');
            const index = list.findIndex((item) => sourceOf(item) === src);
            return index < 0 ? {why: 'The image is not a file yet.'} : imageAt(tab, list, index, src);
        }
        if (byId(`${tab}_gallery`)?.querySelector('.livePreview img')) return {why: 'Wait until the image is finished.'};
        return imageAt(tab, list, chosen(list));
    }

    function currentTab() {
        const content = typeof get_uiCurrentTabContent === 'function' ? get_uiCurrentTabContent() : null;
        return TABS.find((tab) => content && content.id === `tab_${tab}`);
    }

    class Gallery {
        constructor() {
            this.api = null;
            this.known = new Map(); // address → label, or the reason why it has none
            this.presses = Promise.resolve();
            this.rows = new Map();
            this.observers = [];
            this.isLiking = false;
            this.isWatching = false;
            this.onKey = (event) => this.key(event);
            this.onClick = (event) => this.act(event);
            this.onChange = () => this.later();
        }

        /** Follow the options. */
        configure() {
            const likes = Boolean(option('rankopt_gallery_likes'));
            const watches = ['saved', 'sent', 'upscaled', 'regenerated', 'deleted'].some(isOn);
            this.api = this.api || (likes || watches ? new ns.Api('rankopt/v1') : null);
            if (watches !== this.isWatching) {
                this.isWatching = watches;
                document[watches ? 'addEventListener' : 'removeEventListener']('click', this.onClick, true);
            }
            if (likes !== this.isLiking) {
                this.isLiking = likes;
                document[likes ? 'addEventListener' : 'removeEventListener']('keydown', this.onKey);
                if (likes) TABS.forEach((tab) => this.mount(tab));
                else this.unmount();
                if (likes) this.watchLightbox();
            }
            this.later();
        }

        mount(tab) {
            const bar = byId(`image_buttons_${tab}`);
            const neighbour = bar && bar.querySelector('button');
            if (!neighbour) return;
            const buttons = Object.fromEntries(KINDS.map((kind) => [kind, h('button', {
                type: 'button',
                id: `${tab}_rankopt_${kind}`,
                class: `${neighbour.className} rankopt-mark rankopt-mark-${kind}`,
                onclick: () => this.press(tab, kind),
            }, SIGNS[kind])]));
            const said = h('span', {class: 'rankopt-said', role: 'status'});
            neighbour.parentElement.append(buttons.like, buttons.dislike);
            bar.after(said);
            this.rows.set(tab, {buttons, said});
            this.watch(byId(`${tab}_gallery`), WATCHES);
        }

        watchLightbox() {
            const box = byId('lightboxModal');
            if (!box) return;
            this.badge = h('div', {class: 'rankopt-badge', role: 'status'});
            box.append(this.badge);
            this.watch(box, {attributes: true, attributeFilter: ['style']});
            this.watch(byId('modalImage'), {attributes: true, attributeFilter: ['src']});
        }

        watch(element, what) {
            if (!element) return;
            const observer = new MutationObserver(this.onChange);
            observer.observe(element, what);
            this.observers.push(observer);
        }

        unmount() {
            this.observers.splice(0).forEach((observer) => observer.disconnect());
            for (const {buttons, said} of this.rows.values()) [buttons.like, buttons.dislike, said].forEach((element) => element.remove());
            this.rows.clear();
            this.badge?.remove();
            this.badge = null;
        }

        /** Show the state soon; many changes are one. */
        later() {
            if (this.waits || !this.isLiking) return;
            this.waits = true;
            setTimeout(() => {
                this.waits = false;
                for (const tab of this.rows.keys()) this.refresh(tab);
            }, 30);
        }

        refresh(tab) {
            const row = this.rows.get(tab);
            const {src, why} = shown(tab);
            if (src !== row.src) {
                row.src = src;
                if (src) this.ask(src);
            }
            const {label = '', refused = ''} = this.known.get(src) || {};
            for (const kind of KINDS) {
                const key = this.keyOf(kind);
                const words = why || refused || (label === kind ? `${SAID[kind]}; once more for neither` : VERBS[kind]);
                set(row.buttons[kind], 'title', key ? `${words} (${key.toUpperCase()})` : words);
                set(row.buttons[kind], 'aria-label', words);
                set(row.buttons[kind], 'aria-pressed', String(label === kind));
                set(row.buttons[kind], 'aria-disabled', String(Boolean(why || refused)));
                set(row.buttons[kind], 'aria-keyshortcuts', key || null);
            }
            if (this.badge && tab === currentTab()) this.showBadge(label);
        }

        showBadge(label) {
            text(this.badge, SIGNS[label] || '');
            set(this.badge, 'data-label', label || null);
            set(this.badge, 'aria-label', label ? SAID[label] : null);
        }

        /** Look up what was said of an image; what is pressed meanwhile goes before. */
        async ask(src) {
            const before = this.known.get(src);
            try {
                const [found] = (await this.api.post(['gallery', 'labels'], {files: [src], rater: ns.rater.name})).labels;
                if (this.known.get(src) === before) this.know(src, found);
            } catch (error) {
                console.warn('Rank-Optimize: likes cannot be looked up:', error.message);
            }
        }

        know(src, found) {
            if (this.known.size > 2000) this.known.clear();
            this.known.set(src, found);
            this.later();
        }

        // -- saying something
        press(tab, kind) {
            const {src, why} = shown(tab);
            if (why) this.say(tab, why);
            else this.presses = this.presses.then(() => this.send(tab, src, kind));
        }

        async send(tab, src, wanted) {
            if (!this.known.has(src)) await this.ask(src);
            const before = this.known.get(src) || {label: ''};
            if (before.refused) {
                this.say(tab, before.refused);
                return;
            }
            const kind = before.label === wanted ? 'unlike' : wanted;
            this.know(src, {label: kind === 'unlike' ? '' : kind});
            try {
                await this.api.post(['gallery', 'label'], {file: src, kind, rater: ns.rater.name});
                this.say(tab, SAID[kind]);
            } catch (error) {
                this.know(src, before);
                this.say(tab, `Not kept: ${error.message}`);
            }
        }

        say(tab, words) {
            const row = this.rows.get(tab);
            if (!row) return;
            text(row.said, words);
            clearTimeout(row.silence);
            row.silence = setTimeout(() => text(row.said, ''), 4000);
        }

        /** The key of a button by the options, or nothing. */
        keyOf(kind) {
            const key = String(option(`rankopt_gallery_${kind}_key`) ?? '').trim().toLowerCase();
            return /^[\p{L}\p{N}]$/u.test(key) && !TAKEN.includes(key) ? key : '';
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat || event.isComposing) return;
            const kind = KINDS.find((one) => this.keyOf(one) && this.keyOf(one) === event.key.toLowerCase());
            const tab = kind && currentTab();
            if (!tab || this.isTyping(event.target) || this.isTyping(document.activeElement) || this.isCovered()) return;
            event.preventDefault();
            this.press(tab, kind);
        }

        isTyping(element) {
            return Boolean(element && (element.isContentEditable || element.closest?.('input, textarea, select, [role=textbox], [role=listbox]')));
        }

        isCovered() {
            const popup = document.querySelector('.global-popup');
            return Boolean(popup && popup.style.display !== 'none');
        }

        // -- doing something
        /** A click on one of the webui's own buttons; the server decides once more whether it counts. */
        act(event) {
            const id = event.target.closest?.('button')?.id || '';
            const [, saves] = /^save(?:_zip)?_(txt2img|img2img)$/.exec(id) || [];
            const [, sends] = /^(txt2img|img2img|extras)_send_to_(?:img2img|inpaint|extras)$/.exec(id) || [];
            const source = (saves && 'saved') || (sends && 'sent') || (id === 'txt2img_upscale' && 'upscaled');
            // what does not count itself keeps the image from counting as regenerated or deleted
            if (!source || ![source, 'regenerated', 'deleted'].some(isOn)) return;
            const tab = saves || sends || 'txt2img';
            const list = items(tab);
            const {src} = imageAt(tab, list, this.actedOn(source, tab, list));
            if (src) this.tell(tab, src, source);
        }

        /** Index of the image that a button of the webui takes, -1 where it takes several. */
        actedOn(source, tab, list) {
            const index = list.findIndex((item) => item.classList.contains('selected'));
            const first = grids(tab);
            if (source === 'sent') return Math.max(index, list.length ? 0 : -1);
            if (source !== 'saved' || (index >= first && option('save_selected_only'))) return index;
            return list.length - first === 1 ? first : -1;
        }

        async tell(tab, src, source) {
            try {
                const {noted} = await this.api.post(['gallery', 'label'], {file: src, kind: 'like', source, rater: ns.rater.name});
                if (noted) this.say(tab, 'Counts as a weak like');
            } catch (error) {
                console.warn(`Rank-Optimize: '${source}' is not kept:`, error.message);
            }
        }
    }

    ns.gallery = new Gallery();
    onUiLoaded(() => {
        onOptionsAvailable(() => ns.gallery.configure());
        onOptionsChanged(() => ns.gallery.configure());
        // said elsewhere meanwhile, as on the ranking board
        onUiTabChange(() => {
            for (const row of ns.gallery.rows.values()) row.src = undefined;
            ns.gallery.later();
        });
    });
}());
